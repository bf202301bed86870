"""Rules that can never decide anything: impossible by themselves, or shadowed by those that come before them."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from agents.gate import Decision
from governance.policies.document import Rule
from governance.policies.facts import STRICTNESS
from governance.policies.problems import Problem
from governance.policies.reasoning import Domain, is_possible


def find_inert(rules: Sequence[Rule]) -> list[Problem]:
    """A problem for each rule that can never match, and for each that never gets its turn."""
    problems = []
    for place, rule in enumerate(rules):
        if not _can_match(rule, []):
            assert rule.when_tree is not None
            reason = f"The rule '{rule.name}' can never match: its condition contradicts itself."
            problems.append(rule.when_tree.problem_at(0, reason))
            continue
        before = [other for at, other in enumerate(rules) if at != place and _comes_before(other, at, rule, place)]
        covering = [other for other in before if _covers(other, rule)]
        shadow = _shadow(rule, covering)
        if shadow:
            names = " and ".join(f"'{other.name}'" for other in shadow)
            verb = "decides" if len(shadow) == 1 else "decide"
            problems.append(rule.tree.problem(f"The rule '{rule.name}' can never match: {names} {verb} before it."))
    return problems


def _comes_before(other: Rule, at: int, rule: Rule, place: int) -> bool:
    """Whether `other` decides when both match: by priority, then the strictest, then as they stand.

    Rules that ask are joined into their strictest demands, so one of them covers another only with demands at least
    as strict.
    """
    if other.priority != rule.priority:
        return other.priority < rule.priority
    if other.decision != rule.decision:
        return STRICTNESS[other.decision] > STRICTNESS[rule.decision]
    if other.decision == Decision.ASK and (other.quorum, other.four_eyes) != (rule.quorum, rule.four_eyes):
        return other.quorum >= rule.quorum and other.four_eyes >= rule.four_eyes
    return at < place


def _covers(other: Rule, rule: Rule) -> bool:
    """Whether `other` speaks of every action and agent of `rule`."""
    if other.agents is not None and (rule.agents is None or not rule.agents <= other.agents):
        return False
    # A pattern matches another one as a text only if it matches everything that the other one does.
    return all(any(fnmatchcase(action, pattern) for pattern in other.actions) for action in rule.actions)


def _shadow(rule: Rule, covering: Sequence[Rule]) -> list[Rule]:
    """The rules that leave nothing to `rule`: one if one is enough."""
    for other in covering:
        if not _can_match(rule, [other]):
            return [other]
    return [] if len(covering) < 2 or _can_match(rule, covering) else list(covering)


def _can_match(rule: Rule, others: Sequence[Rule]) -> bool:
    if any(other.when is None for other in others):
        return False
    is_listed = not any("*" in action for action in rule.actions)
    domain = Domain(actions=frozenset(rule.actions) if is_listed else None, agents=rule.agents)
    wanted = [] if rule.when is None else [rule.when]
    return is_possible(wanted, [other.when for other in others if other.when is not None], domain)
