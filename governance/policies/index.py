"""Which of many rules can hold: all of them are tried at once, by comparisons of the same thing with fixed values.

`arguments.amount > 500`, `hour < 6` and `agent in [...]` split the values of what they look up into few classes: those
between two limits, those equal to one. For each class it is known before anybody asks which rules it rules out, as the
bits of a number. A verdict then looks each thing up once, instead of once for each rule.

Only rules that are certainly false without an error are left out: what stands in a condition behind something that is
not known here counts for nothing, and a value of another kind than a rule compares with leaves that rule in.
"""

import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

from governance.policies.expression import And, Comparison, Field, Holds, Literal, Node, Not, Operand
from governance.policies.facts import LEVELS, Facts
from governance.policies.meaning import ConditionError, Test

Getter = Callable[[Facts], Any]
# The rules that a value leaves in, and those that it makes fail: they are left in whatever else is known.
Cell = tuple[int, int]
# What is compared in fewer rules is sooner compared than looked up.
SHARED_BY = 4
_SPLITTING = {"==", "<", "<=", ">", ">=", "in"}


def conjuncts(node: Node) -> Iterator[Node]:
    """What must hold, in the order in which it is asked."""
    if isinstance(node, And):
        for part in node.parts:
            yield from conjuncts(part)
    else:
        yield node


def split_by(node: Node) -> Operand | None:
    """What is looked up, where `node` compares it with fixed values that split its values into classes."""
    match node:
        case Not(inner):
            return split_by(inner)
        case Holds(operand):
            return operand
        case Comparison(operator, left, Literal()) if operator in _SPLITTING and not isinstance(left, Literal):
            return left
    return None


def fixed_values(node: Node) -> tuple[Any, ...]:
    """The values that `node`, of which `split_by` knows, compares with."""
    match node:
        case Not(inner):
            return fixed_values(inner)
        case Comparison(_, _, Literal(value)):
            return value if isinstance(value, tuple) else (value,)
    return ()


class Index:
    """Of rules with these conditions, in this order, the ones that can hold."""

    def __init__(
        self,
        conditions: Sequence[Node | None],
        getter: Callable[[Operand], Getter],
        tester: Callable[[Node], Test],
    ) -> None:
        known = [_known(condition) for condition in conditions]
        count: dict[str, int] = defaultdict(int)
        for parts in known:
            for subject in {str(split_by(part)) for part in parts}:
                count[subject] += 1
        checks: dict[str, list[tuple[int, Node]]] = defaultdict(list)
        for place, parts in enumerate(known):
            for part in parts:
                subject = str(split_by(part))
                if count[subject] < SHARED_BY:
                    # It may fail, so nothing behind it is certain.
                    break
                checks[subject].append((place, part))
        self._all = (1 << len(conditions)) - 1
        self._tables = [_Table(self._all, found, getter, tester) for found in checks.values()]

    def candidates(self, facts: Facts) -> int:
        """The places of the rules that may hold or fail, as bits."""
        left, failing = self._all, 0
        for table in self._tables:
            stay, fail = table.look(facts)
            left &= stay
            failing |= fail
        return left | failing


def _known(condition: Node | None) -> list[Node]:
    """The conjuncts up to the first that splits nothing."""
    found: list[Node] = []
    for part in () if condition is None else conjuncts(condition):
        if split_by(part) is None:
            break
        found.append(part)
    return found


class _Table:
    """What the classes of one thing's values say of the rules that compare it."""

    def __init__(
        self,
        every: int,
        checks: Sequence[tuple[int, Node]],
        getter: Callable[[Operand], Getter],
        tester: Callable[[Node], Test],
    ) -> None:
        subject = split_by(checks[0][1])
        assert subject is not None
        self._get = getter(subject)
        self._every = every
        self._checks = [(1 << place, tester(node)) for place, node in checks]
        values = {(type(value), value) for _, node in checks for value in fixed_values(node)}
        texts = {value for kind, value in values if kind is str}
        if isinstance(subject, Field) and subject.name == "maturity":
            texts.update(LEVELS)
        self._limits = sorted({value for kind, value in values if kind is int or kind is float})
        self._of_number = [self._cell(sample) for sample in _samples(self._limits)]
        self._of_text = {text: self._cell(text) for text in texts}
        self._of_other_text = self._cell("".join(texts) + "?")
        self._of_bool = {value: self._cell(value) for value in (True, False)}
        self._of_nothing = self._cell(None)
        # Of any other value every rule that compares it must say itself what is wrong with it.
        self._unknown = every, sum({bit for bit, _ in self._checks})

    def _cell(self, value: Any) -> Cell:
        stay, failing = self._every, 0
        for bit, holds in self._checks:
            try:
                if not holds(value):
                    stay &= ~bit
            except (ConditionError, KeyError):
                failing |= bit
        return stay, failing

    def look(self, facts: Facts) -> Cell:
        try:
            value = self._get(facts)
        except ConditionError:
            return self._unknown
        kind = type(value)
        if kind is str:
            return self._of_text.get(value, self._of_other_text)
        if kind is int or kind is float:
            limits = self._limits
            place = bisect_left(limits, value)
            if place < len(limits) and limits[place] == value:
                return self._of_number[2 * place + 1]
            is_number = kind is int or not math.isnan(value)
            return self._of_number[2 * place] if is_number else self._unknown
        if value is None:
            return self._of_nothing
        return self._of_bool[value] if kind is bool else self._unknown


def _samples(limits: Sequence[float]) -> Iterable[float]:
    """One number below all limits, then each limit followed by one between it and the next."""
    yield -math.inf
    for low, high in pairwise(limits):
        yield low
        yield _between(low, high)
    if limits:
        yield limits[-1]
        yield math.inf


def _between(low: float, high: float) -> float:
    """A number between two; where JSON has none, one of them, because nobody will ask."""
    for find in (_next_whole, _middle, _next):
        try:
            if low < (found := find(low, high)) < high:
                return found
        except OverflowError:
            continue
    return low


def _next_whole(low: float, _: float) -> float:
    return math.floor(low) + 1


def _middle(low: float, high: float) -> float:
    return low / 2 + high / 2


def _next(low: float, _: float) -> float:
    return math.nextafter(low, math.inf)
