"""Conditions as closures, and rules indexed by action: what is asked at every verdict was worked out at save."""

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from operator import attrgetter
from typing import Any

from agents.gate import Decision
from governance.policies import meaning
from governance.policies.document import Rule
from governance.policies.expression import And, Comparison, Count, Field, Holds, Literal, Node, Not, Operand, Or, Path
from governance.policies.facts import STRICTNESS, Facts, JudgingError, Match
from governance.policies.index import Index
from governance.policies.meaning import ConditionError, Test

Condition = Callable[[Facts], bool]
Getter = Callable[[Facts], Any]
# A condition, what is said when it holds, and the rule's priority.
Entry = tuple[Condition, Match, int]
# Actions that no rule names are looked up by pattern once, then remembered; so many at most.
REMEMBER_MOST = 2_000
# Fewer rules are sooner asked than sorted out.
INDEX_FROM = 8


class CompiledRules:
    """The rules of a policy, ready to be asked. Immutable but for its memory of actions."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = [rules[place] for place in sorted(range(len(rules)), key=lambda at: _precedence(rules[at], at))]
        self._sets: dict[tuple[int, ...], _Speaking] = {}
        named = {action for rule in rules for action in rule.actions if "*" not in action}
        self._by_action = {action: self._speaking_of(action) for action in named}
        self._others: dict[str, _Speaking] = {}

    def judge(self, facts: Facts) -> Match | None:
        """The first rule that holds, by priority and then by strictness. Raises JudgingError."""
        speaking = self._by_action.get(facts.action)
        if speaking is None:
            speaking = self._remembered(facts.action)
        match: Match | None = None
        entries = speaking.candidates(facts)
        try:
            for holds, match, priority in entries:
                if holds(facts):
                    if match.decision is Decision.ASK:
                        return _joined(entries, match, priority, facts)
                    return match
        except ConditionError as exc:
            assert match is not None
            raise JudgingError(match.rule, str(exc)) from exc
        return None

    def _remembered(self, action: str) -> "_Speaking":
        found = self._others.get(action)
        if found is None:
            found = self._speaking_of(action)
            if len(self._others) >= REMEMBER_MOST:
                self._others.clear()
            self._others[action] = found
        return found

    def _speaking_of(self, action: str) -> "_Speaking":
        """The rules about an action; actions that the same rules are about share them."""
        places = tuple(
            place
            for place, rule in enumerate(self._rules)
            if any(fnmatchcase(action, pattern) for pattern in rule.actions)
        )
        if places not in self._sets:
            self._sets[places] = _Speaking([self._rules[place] for place in places])
        return self._sets[places]


class _Speaking:
    """The rules that speak of an action, in their order; of many only those are asked that can hold."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._entries = tuple(_entry(rule) for rule in rules)
        self._index: Index | None = None
        if len(rules) >= INDEX_FROM:
            self._index = Index([_whole_condition(rule) for rule in rules], _getter, _test_of_one)

    def candidates(self, facts: Facts) -> Sequence[Entry]:
        if self._index is None:
            return self._entries
        bits = self._index.candidates(facts)
        found = []
        while bits:
            lowest = bits & -bits
            found.append(self._entries[lowest.bit_length() - 1])
            bits ^= lowest
        return found


def _precedence(rule: Rule, place: int) -> tuple[int, int, int, bool, int]:
    return rule.priority, -STRICTNESS[rule.decision], -rule.quorum, not rule.four_eyes, place


def _joined(entries: Sequence[Entry], first: Match, priority: int, facts: Facts) -> Match:
    """Of several rules that ask, the strictest of each demand: the most people, and four eyes if any wants them."""
    quorum, four_eyes = first.quorum, first.four_eyes
    for holds, match, at in entries:
        if at == priority and match.decision is Decision.ASK and match is not first and holds(facts):
            quorum, four_eyes = max(quorum, match.quorum), four_eyes or match.four_eyes
    if (quorum, four_eyes) == (first.quorum, first.four_eyes):
        return first
    return Match(first.rule, first.decision, quorum, four_eyes)


def _entry(rule: Rule) -> Entry:
    condition = _always if rule.when is None else compile_condition(rule.when)
    if rule.agents is not None:
        condition = _for_agents(rule.agents, condition)
    return condition, Match(rule.name, rule.decision, rule.quorum, rule.four_eyes), rule.priority


def _whole_condition(rule: Rule) -> Node | None:
    """All that must hold for a rule about its actions, its agents first."""
    if rule.agents is None:
        return rule.when
    of_agents = Comparison("in", Field("agent"), Literal(tuple(rule.agents)))
    return of_agents if rule.when is None else And((of_agents, rule.when))


def _always(facts: Facts) -> bool:
    return True


def _for_agents(agents: frozenset[str], condition: Condition) -> Condition:
    return lambda facts: facts.agent in agents and condition(facts)


def compile_condition(node: Node) -> Condition:
    """A closure that says whether the condition holds. It raises ConditionError for values of another kind."""
    match node:
        case Not(inner):
            condition = compile_condition(inner)
            return lambda facts: not condition(facts)
        case And(parts):
            return _all_of([compile_condition(part) for part in parts])
        case Or(parts):
            return _any_of([compile_condition(part) for part in parts])
        case Holds(operand):
            return _tested(_getter(operand), meaning.is_equal(str(operand), True))
        case Comparison():
            return _compile_comparison(node)


def _all_of(conditions: list[Condition]) -> Condition:
    if len(conditions) == 2:
        one, two = conditions
        return lambda facts: one(facts) and two(facts)
    return lambda facts: all(condition(facts) for condition in conditions)


def _any_of(conditions: list[Condition]) -> Condition:
    if len(conditions) == 2:
        one, two = conditions
        return lambda facts: one(facts) or two(facts)
    return lambda facts: any(condition(facts) for condition in conditions)


def _tested(get: Getter, test: Test) -> Condition:
    return lambda facts: test(get(facts))


def _compile_comparison(atom: Comparison) -> Condition:
    test, operand = test_of(atom), subject_of(atom)
    if test is not None:
        return _tested(_getter(operand), test)
    left, right = _getter(atom.left), _getter(atom.right)
    compare = meaning.compared(atom.operator, str(atom.left), str(atom.right))
    return lambda facts: compare(left(facts), right(facts))


def _test_of_one(node: Node) -> Test:
    """What a condition that looks up one thing says of its value."""
    match node:
        case Not(inner):
            test = _test_of_one(inner)
            return lambda value: not test(value)
        case Holds(operand):
            return meaning.is_equal(str(operand), True)
        case Comparison() if (found := test_of(node)) is not None:
            return found
    raise AssertionError(f"{node} looks up more than one thing")


def subject_of(atom: Comparison) -> Operand:
    """The side of a comparison that is looked up."""
    return atom.right if isinstance(atom.left, Literal) else atom.left


def test_of(atom: Comparison) -> Test | None:
    """The test that the looked-up side is put to; None when both sides are looked up."""
    what = str(subject_of(atom))
    if isinstance(atom.left, Literal):
        assert not isinstance(atom.left.value, tuple)
        return meaning.has_member(what, atom.left.value)
    if not isinstance(atom.right, Literal):
        return None
    value: Any = atom.right.value
    match atom.operator:
        case "==":
            return meaning.is_equal(what, value)
        case "in":
            return meaning.is_among(what, value)
        case "contains":
            return meaning.has_part(what, value)
        case "startswith":
            return meaning.starts_with(what, value)
        case "endswith":
            return meaning.ends_with(what, value)
        case "matches":
            return meaning.matches(what, value)
        case sign:
            if isinstance(atom.left, Field) and atom.left.name == "maturity":
                return meaning.is_level(sign, value)
            return meaning.is_ordered(what, sign, value)


def _getter(operand: Operand) -> Getter:
    match operand:
        case Field(name):
            return attrgetter(name)
        case Path("arguments", (step,)):
            return lambda facts: facts.arguments.get(step)
        case Path():
            return _walk(operand)
        case Count(path):
            return _count(path)
        case Literal(value):
            return lambda facts: value


def _walk(path: Path) -> Getter:
    root, steps, what = attrgetter(path.root), path.steps, str(path)

    def get(facts: Facts) -> Any:
        value = root(facts)
        for step in steps:
            if type(value) is dict:
                value = value.get(step)
            elif type(value) is list:
                value = value[int(step)] if step.isdecimal() and int(step) < len(value) else None
            elif value is None:
                return None
            else:
                raise ConditionError(f"{what} looks inside something that is {meaning.kind_of(value)}")
        return value

    return get


def _count(path: Path) -> Getter:
    get, what = _getter(path), str(path)

    def count(facts: Facts) -> int | None:
        value = get(facts)
        if value is None or type(value) is list or type(value) is dict or type(value) is str:
            return None if value is None else len(value)
        raise ConditionError(f"{what} is {meaning.kind_of(value)}, and has nothing to count")

    return count
