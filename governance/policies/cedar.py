"""Cedar as the advanced language: permit allows, forbid denies, and `@decision("ask")` on a permit asks.

    principal  Agent::"<slug>"         action    Action::"<name>"       resource  Workspace::"atom"
    context    arguments, maturity, complexity, hour, session, cost, context

Cedar has no null (such members are left out: ask with `has`) and no fractions (they become its decimals, four digits).
Where no Cedar policy speaks of an action, the matrix decides, as it does with Atom's own language.
"""

import json
import re
from collections.abc import Iterator
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

import cedarpy

from agents.gate import Decision
from governance.policies.document import MAX_QUORUM
from governance.policies.facts import STRICTNESS, Facts, JudgingError, Match, normal_action
from governance.policies.problems import PolicyRefused, Problem
from governance.policies.source import Tree

ENTITY_TYPES = {"Agent", "Action", "Workspace"}
CONTEXT = {"arguments", "maturity", "complexity", "hour", "session", "cost", "context"}
ANNOTATIONS = {"id", "decision", "quorum", "four_eyes"}
MAX_NAME = 100
_UNFINISHED = "unexpected end of input"
_FAILED = re.compile(r"policy `(\w+)`")


class CedarRules:
    """A Cedar policy set, parsed once. Raises PolicyRefused."""

    def __init__(self, tree: Tree) -> None:
        text = str(tree.value)
        try:
            policies = json.loads(cedarpy.policies_to_json_str(text))["staticPolicies"]
        except ValueError as exc:
            raise PolicyRefused([_syntax_problem(tree, text, str(exc))]) from exc
        if not policies:
            raise PolicyRefused([tree.problem("The Cedar text has no policy.")])
        problems = [
            tree.problem(f"{key}: {reason}") for key, policy in policies.items() for reason in _mistakes(policy)
        ]
        names = [_name(key, policy) for key, policy in policies.items()]
        problems += [
            tree.problem(f"Two policies have the id '{name}'.") for name in set(names) if names.count(name) > 1
        ]
        if problems:
            raise PolicyRefused(problems)
        # Each agent that is named, so that somebody can say whether there is such an agent.
        self.slugs = {entity["id"] for entity in _entities(policies) if entity["type"] == "Agent"}
        self._matches = {key: _match(key, policy) for key, policy in policies.items()}
        self._policies = cedarpy.PolicySet.from_str(text)

    def judge(self, facts: Facts) -> Match | None:
        request = {
            "principal": {"type": "Agent", "id": facts.agent},
            "action": {"type": "Action", "id": facts.action},
            "resource": {"type": "Workspace", "id": "atom"},
            "context": _context(facts),
        }
        said = cedarpy.is_authorized(request, self._policies, [])
        if said.diagnostics.errors:
            # Cedar would leave out the policy that failed: a forbid would be silently inert.
            raise self._error(said.diagnostics.errors[0])
        return self._joined([self._matches[key] for key in said.diagnostics.reasons])

    def _joined(self, matches: list[Match]) -> Match | None:
        """The strictest of the policies that decided; several that ask are joined, as in Atom's own language."""
        if not matches:
            return None
        first = max(matches, key=lambda match: (STRICTNESS[match.decision], match.quorum, match.four_eyes))
        alike = [match for match in matches if match.decision == first.decision]
        return Match(
            first.rule,
            first.decision,
            max(match.quorum for match in alike),
            any(match.four_eyes for match in alike),
        )

    def _error(self, message: str) -> JudgingError:
        found = _FAILED.search(message)
        rule = self._matches[found.group(1)].rule if found and found.group(1) in self._matches else "cedar"
        return JudgingError(rule, f"Cedar says: {message.rpartition('`: ')[2]}")


def _syntax_problem(tree: Tree, text: str, message: str) -> Problem:
    """Cedar tells what is wrong and not where: the first line that does not only need more text after it."""
    lines = text.split("\n")
    offset = 0
    for count, line in enumerate(lines, start=1):
        try:
            cedarpy.policies_to_json_str("\n".join(lines[:count]))
        except ValueError as exc:
            if str(exc) != _UNFINISHED:
                token = re.search(r"`(.+)`", str(exc))
                column = line.find(token.group(1)) if token else -1
                return tree.problem_at(offset + max(column, len(line) - len(line.lstrip())), f"Cedar says: {exc}.")
        offset += len(line) + 1
    return tree.problem_at(len(text), f"Cedar says: {message}.")


def _name(key: str, policy: dict[str, Any]) -> str:
    return policy.get("annotations", {}).get("id") or key


def _match(key: str, policy: dict[str, Any]) -> Match:
    notes = policy.get("annotations", {})
    if policy["effect"] == "forbid":
        return Match(_name(key, policy), Decision.DENY)
    decision = Decision(notes.get("decision", "allow"))
    return Match(_name(key, policy), decision, int(notes.get("quorum", 1)), notes.get("four_eyes") == "true")


def _mistakes(policy: dict[str, Any]) -> Iterator[str]:
    """What Cedar accepts and would never match, or would mean something else than it says."""
    notes = policy.get("annotations", {})
    for name in notes.keys() - ANNOTATIONS:
        yield f"there is no annotation @{name}."
    if not 1 <= len(notes.get("id", "policy")) <= MAX_NAME:
        yield f"an @id has 1 to {MAX_NAME} characters."
    if "decision" in notes and policy["effect"] == "forbid":
        yield "@decision belongs to a permit; a forbid denies."
    elif notes.get("decision", "allow") not in {"allow", "watch", "ask"}:
        yield 'a permit\'s @decision is "allow", "watch" or "ask".'
    elif notes.get("decision") != "ask" and ("quorum" in notes or "four_eyes" in notes):
        yield "only a policy that asks has a quorum or four eyes."
    if not re.fullmatch(r"[1-9]|10", notes.get("quorum", "1")):
        yield f"@quorum is a number from 1 to {MAX_QUORUM}."
    if notes.get("four_eyes", "true") not in {"true", "false"}:
        yield '@four_eyes is "true" or "false".'
    yield from _unknown_names(policy)


def _unknown_names(policy: dict[str, Any]) -> Iterator[str]:
    for entity in _entities(policy):
        if entity["type"] not in ENTITY_TYPES:
            yield f"there is no entity type {entity['type']}; there are {', '.join(sorted(ENTITY_TYPES))}."
        elif entity["type"] == "Action" and normal_action(entity["id"]) != entity["id"]:
            yield f'actions are in small letters with _: write Action::"{normal_action(entity["id"])}".'
    for node in _objects(policy):
        for access in (node.get("has"), node.get(".")):
            if isinstance(access, dict) and access.get("left") == {"Var": "context"} and access["attr"] not in CONTEXT:
                yield f"there is no context.{access['attr']}; there are {', '.join(sorted(CONTEXT))}."


def _entities(value: Any) -> Iterator[dict[str, str]]:
    return (node for node in _objects(value) if isinstance(node.get("type"), str) and isinstance(node.get("id"), str))


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    """Every object in Cedar's JSON, however deep."""
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _objects(inner)


def _context(facts: Facts) -> dict[str, Any]:
    given = {
        "arguments": facts.arguments,
        "context": facts.context,
        "maturity": facts.maturity,
        "complexity": facts.complexity,
        "hour": facts.hour,
        "session": facts.session,
        "cost": None if facts.cost is None else float(facts.cost),
    }
    found: dict[str, Any] = _value(given)
    return found


def _value(value: Any) -> Any:
    match value:
        case dict():
            # What Cedar would read as an entity or an extension is data here, under another name.
            return {_plain(name): _value(inner) for name, inner in value.items() if inner is not None}
        case list():
            return [_value(inner) for inner in value if inner is not None]
        case float():
            return _decimal(value)
        case _:
            return value


def _plain(name: str) -> str:
    return f"_{name}" if name in {"__entity", "__extn", "__expr"} else name


def _decimal(value: float) -> Any:
    digits = Decimal(repr(value)).quantize(Decimal("0.0001"), rounding=ROUND_HALF_EVEN)
    return {"__extn": {"fn": "decimal", "arg": f"{digits:f}"}}
