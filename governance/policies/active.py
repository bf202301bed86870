"""The policy that a workspace is governed by, and the one that judges in its shadow, as snapshots."""

from dataclasses import dataclass
from uuid import UUID

import structlog

from agents.gate import Decision
from atom.ground.snapshots import Snapshots
from governance.matrix import Ruling, required_maturity
from governance.models import PolicyInForce, PolicyVersion
from governance.policies.facts import Facts, JudgingError, Rules
from governance.policies.problems import PolicyRefused
from governance.policies.reading import compile_policy

log = structlog.get_logger(__name__)

UNREADABLE = "unreadable-policy"


@dataclass(frozen=True, slots=True)
class Loaded:
    """A version with its rules. Without rules it could not be read, and then nothing can be judged by it."""

    name: str
    rules: Rules | None


@dataclass(frozen=True, slots=True)
class InForce:
    active: Loaded | None = None
    shadow: Loaded | None = None


def _load(workspace_id: UUID) -> InForce:
    rows = PolicyInForce.objects.select_related("active__policy", "shadow__policy")
    row = rows.filter(pk=workspace_id).first()
    return InForce(_loaded(row.active), _loaded(row.shadow)) if row else InForce()


def _loaded(version: PolicyVersion | None) -> Loaded | None:
    if version is None:
        return None
    try:
        return Loaded(str(version), compile_policy(version.source).rules)
    except PolicyRefused as exc:
        # It was in order when it was saved; an older or newer Atom reads it otherwise.
        log.error("policy_unreadable", version=str(version), problem=exc.message)
        return Loaded(str(version), None)


POLICIES: Snapshots[InForce] = Snapshots("policies", _load)


def ruling_of(loaded: Loaded, facts: Facts) -> Ruling | None:
    """What a policy says of an action, None when it says nothing. A mistake while judging denies, and says so."""
    if loaded.rules is None:
        return _error(loaded, facts, UNREADABLE, "The policy in force cannot be read.")
    try:
        match = loaded.rules.judge(facts)
    except JudgingError as exc:
        return _error(loaded, facts, exc.rule, f"The rule '{exc.rule}' could not be asked: {exc.message}.")
    except Exception:
        log.exception("judging_failed", version=loaded.name, action=facts.action)
        return _error(loaded, facts, UNREADABLE, "The policy failed on our side.")
    if match is None:
        return None
    return Ruling(
        decision=match.decision,
        required_maturity=required_maturity(facts.complexity),
        rule=match.rule,
        reason=_reason(match.decision, match.rule, loaded.name, facts.action.replace("_", " "), match.quorum),
        policy_version=loaded.name,
        quorum=match.quorum,
        four_eyes=match.four_eyes,
    )


def _error(loaded: Loaded, facts: Facts, rule: str, message: str) -> Ruling:
    return Ruling(
        decision=Decision.DENY,
        required_maturity=required_maturity(facts.complexity),
        rule=rule,
        reason=f"This could not be judged, so it does not happen. {message}",
        policy_version=loaded.name,
        is_error=True,
    )


def _reason(decision: Decision, rule: str, policy: str, what: str, quorum: int) -> str:
    by = f"The rule '{rule}' of {policy}"
    match decision:
        case Decision.ALLOW:
            return f"{by} allows to {what}."
        case Decision.WATCH:
            return f"{by} allows to {what} while people can watch and stop it."
        case Decision.ASK:
            people = "a person has" if quorum == 1 else f"{quorum} people have"
            return f"{by} allows to {what} only after {people} approved it."
        case Decision.DENY:
            return f"{by} does not allow to {what}."
