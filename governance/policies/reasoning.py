"""Whether a condition can ever hold, by reasoning about each value that it names.

A condition is written as alternatives, each a list of demands that hold together. An alternative is impossible when the
demands on one value contradict each other: bounds that exclude each other, equality with two values or with one that
another demand refuses, a text with two beginnings or two endings, presence and absence at once; for hour, complexity,
maturity, the rule's own actions and agents, every value there is gets tried. What is not seen through (regular
expressions among themselves, `contains`, one argument compared with another) counts as possible: nothing possible is
ever refused.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from governance.policies.compile import subject_of, test_of
from governance.policies.expression import And, Atom, Comparison, Count, Field, Holds, Literal, Node, Not, Operand, Or
from governance.policies.facts import LEVELS
from governance.policies.meaning import ORDER, ConditionError, is_equal

# More alternatives than these are not looked at: the condition counts as possible.
MAX_ALTERNATIVES = 512
_NEGATED = {"<": ">=", "<=": ">", ">": "<=", ">=": "<"}
_ALWAYS_THERE = {"action", "agent", "maturity", "hour", "complexity"}


@dataclass(frozen=True, slots=True)
class Demand:
    """A comparison that must hold, or must not."""

    atom: Atom
    is_positive: bool

    @property
    def operand(self) -> Operand:
        return self.atom.operand if isinstance(self.atom, Holds) else subject_of(self.atom)

    @property
    def demands_null(self) -> bool:
        return isinstance(self.atom, Comparison) and self.atom.right == Literal(None)

    @property
    def wants_presence(self) -> bool:
        """`x > 5` needs an x, and so does `x != null`; `not x > 5` holds without one."""
        return self.is_positive != self.demands_null

    def holds(self, value: Any) -> bool:
        """Whether this value satisfies it; a value of another kind might."""
        test = is_equal("", True) if isinstance(self.atom, Holds) else test_of(self.atom)
        try:
            return test is None or test(value) == self.is_positive
        except ConditionError:
            return True


class _TooMany(Exception):
    pass


@dataclass(frozen=True, slots=True)
class Domain:
    """The actions and agents that a rule is about at all; None for any."""

    actions: frozenset[str] | None = None
    agents: frozenset[str] | None = None


def is_possible(wanted: Sequence[Node], refused: Sequence[Node], domain: Domain) -> bool:
    """Whether there can be an action for which all of `wanted` hold and none of `refused`."""
    node = And((*wanted, *(Not(other) for other in refused)))
    try:
        alternatives = _alternatives(node, is_positive=True)
    except _TooMany:
        return True
    return any(_is_consistent(demands, domain) for demands in alternatives)


def _alternatives(node: Node, *, is_positive: bool) -> list[list[Demand]]:
    match node:
        case Not(inner):
            return _alternatives(inner, is_positive=not is_positive)
        case And(parts) | Or(parts):
            below = [_alternatives(part, is_positive=is_positive) for part in parts]
            if isinstance(node, And) != is_positive:
                return _bounded([demands for each in below for demands in each])
            if math.prod(map(len, below)) > MAX_ALTERNATIVES:
                raise _TooMany
            return [[demand for demands in choice for demand in demands] for choice in product(*below)]
        case Comparison() | Holds():
            return [[Demand(node, is_positive)]]


def _bounded(alternatives: list[list[Demand]]) -> list[list[Demand]]:
    if len(alternatives) > MAX_ALTERNATIVES:
        raise _TooMany
    return alternatives


def _is_consistent(demands: Iterable[Demand], domain: Domain) -> bool:
    by_operand: defaultdict[Operand, list[Demand]] = defaultdict(list)
    for demand in demands:
        by_operand[demand.operand].append(demand)
    return all(_is_satisfiable(operand, together, domain) for operand, together in by_operand.items())


def _is_satisfiable(operand: Operand, demands: list[Demand], domain: Domain) -> bool:
    if any(Demand(demand.atom, not demand.is_positive) in demands for demand in demands):
        return False
    candidates = _candidates(operand, demands, domain)
    if candidates is not None:
        return any(all(demand.holds(value) for demand in demands) for value in candidates)
    if not any(demand.wants_presence for demand in demands) and not _is_always_there(operand):
        return True
    return _bounds_meet(operand, demands) and _texts_meet(demands)


def _is_always_there(operand: Operand) -> bool:
    return isinstance(operand, Field) and operand.name in _ALWAYS_THERE


def _candidates(operand: Operand, demands: list[Demand], domain: Domain) -> Iterable[Any] | None:
    """Every value that is worth trying, if they can be listed."""
    match operand:
        case Field("hour"):
            return range(24)
        case Field("complexity"):
            return range(1, 5)
        case Field("maturity"):
            return LEVELS
        case Field("action") if domain.actions is not None:
            return domain.actions
        case Field("agent") if domain.agents is not None:
            return domain.agents
    for demand in demands:
        atom = demand.atom
        if isinstance(atom, Holds):
            return [True, False, *([] if any(other.wants_presence for other in demands) else [None])]
        if (
            demand.is_positive
            and isinstance(atom.right, Literal)
            and atom.operator in {"==", "in"}
            and subject_of(atom) is atom.left
        ):
            return atom.right.value if isinstance(atom.right.value, tuple) else [atom.right.value]
    return None


def _bounds_meet(operand: Operand, demands: list[Demand]) -> bool:
    """Whether some number lies within all bounds."""
    counts = isinstance(operand, Count)
    is_from_zero = counts or operand == Field("cost")
    lowest, highest = (0.0 if is_from_zero else -math.inf), math.inf
    has_lowest, has_highest = True, True
    for sign, limit in _bounds(demands):
        if sign in {">", ">="} and (limit > lowest or (limit == lowest and sign == ">")):
            lowest, has_lowest = limit, sign == ">="
        if sign in {"<", "<="} and (limit < highest or (limit == highest and sign == "<")):
            highest, has_highest = limit, sign == "<="
    if lowest > highest or (lowest == highest and not (has_lowest and has_highest)):
        return False
    if lowest == highest:
        return all(demand.holds(lowest) for demand in demands)
    if counts and math.isfinite(lowest):
        # With one whole number more than there are demands, one is left that no `!=` takes away.
        first = math.floor(lowest)
        return any(all(demand.holds(n) for demand in demands) for n in range(first, first + len(demands) + 2))
    return True


def _bounds(demands: list[Demand]) -> Iterable[tuple[str, float]]:
    for demand in demands:
        atom = demand.atom
        if isinstance(atom, Comparison) and atom.operator in ORDER and isinstance(atom.right, Literal):
            assert isinstance(atom.right.value, int | float)
            yield atom.operator if demand.is_positive else _NEGATED[atom.operator], atom.right.value


def _texts_meet(demands: list[Demand]) -> bool:
    """Whether a text can begin, and end, in all the ways that are demanded."""
    return _ends_meet(demands, "startswith", 1) and _ends_meet(demands, "endswith", -1)


def _ends_meet(demands: list[Demand], operator: str, direction: int) -> bool:
    wanted: list[str] = []
    refused: list[str] = []
    for demand in demands:
        atom = demand.atom
        if isinstance(atom, Comparison) and atom.operator == operator and isinstance(atom.right, Literal):
            (wanted if demand.is_positive else refused).append(str(atom.right.value)[::direction])
    longest = max(wanted, key=len, default="")
    return all(longest.startswith(text) for text in wanted) and not any(longest.startswith(text) for text in refused)
