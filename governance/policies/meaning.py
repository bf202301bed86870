"""What each comparison means: a test of a value, made once from the operator and its fixed side.

A comparison with what is missing does not hold (only `== null` does). A value of another kind than it is compared
with is a ConditionError and never just "no": "600" must not slip past `arguments.amount > 500`.
"""

import operator
from collections.abc import Callable
from typing import Any

import re2

from governance.policies.expression import Scalar
from governance.policies.facts import LEVELS

Test = Callable[[Any], bool]
ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
RANK: dict[str, int] = {level: rank for rank, level in enumerate(LEVELS)}
_KINDS: dict[type, str] = {
    bool: "yes or no",
    int: "a number",
    float: "a number",
    str: "a text",
    list: "a list",
    tuple: "a list",
    dict: "an object",
}


class ConditionError(Exception):
    """A value that cannot be compared as the rule says; the message never repeats the value."""


def kind_of(value: object) -> str:
    """What people call the kind of a JSON value."""
    return "nothing" if value is None else _KINDS.get(type(value), type(value).__name__)


def _wrong(what: str, value: object, wanted: str) -> ConditionError:
    return ConditionError(f"{what} is {kind_of(value)}, and is compared with {wanted}")


def compared(sign: str, left: str, right: str) -> Callable[[Any, Any], bool]:
    """The comparison of two values that are both looked up."""
    if sign == "==":
        return lambda one, other: _same(left, one, other)
    order = ORDER[sign]

    def test(one: Any, other: Any) -> bool:
        if one is None or other is None:
            return False
        return _number(left, one) and _number(right, other) and order(one, other)

    return test


def _same(what: str, value: Any, other: Any) -> bool:
    if value is None or other is None:
        return False
    if kind_of(value) != kind_of(other):
        raise _wrong(what, value, kind_of(other))
    return bool(value == other)


def is_equal(what: str, wanted: Scalar) -> Test:
    if wanted is None:
        return lambda value: value is None
    kind = type(wanted)
    if kind in {int, float}:
        return lambda value: _number(what, value) and value == wanted

    def test(value: Any) -> bool:
        if type(value) is kind:
            return bool(value == wanted)
        if value is None:
            return False
        raise _wrong(what, value, kind_of(wanted))

    return test


def _number(what: str, value: Any) -> bool:
    """Whether there is a number; ConditionError for anything else."""
    if type(value) is int or type(value) is float:
        return True
    if value is None:
        return False
    raise _wrong(what, value, "a number")


def is_ordered(what: str, sign: str, limit: float) -> Test:
    compare = ORDER[sign]

    def test(value: Any) -> bool:
        if type(value) is int or type(value) is float:
            return compare(value, limit)
        if value is None:
            return False
        raise _wrong(what, value, "a number")

    return test


def is_level(sign: str, level: str) -> Test:
    """Maturity against a level, in the order of the levels."""
    compare, limit = ORDER[sign], RANK[level]
    return lambda value: compare(RANK[value], limit)


def is_among(what: str, wanted: tuple[Scalar, ...]) -> Test:
    kind = kind_of(wanted[0])
    members = frozenset(wanted)

    def test(value: Any) -> bool:
        if value is None:
            return False
        if kind_of(value) != kind:
            raise _wrong(what, value, f"{kind}s" if kind == "a text" else kind)
        return value in members

    return test


def has_member(what: str, wanted: Scalar) -> Test:
    """`wanted in path`: a list that has it. (`True == 1` in Python, but not in JSON.)"""

    def test(value: Any) -> bool:
        if value is None:
            return False
        if type(value) is not list:
            raise _wrong(what, value, "a member of a list")
        return any(kind_of(item) == kind_of(wanted) and item == wanted for item in value)

    return test


def has_part(what: str, wanted: Scalar) -> Test:
    """`path contains wanted`: a part of a text, or a member of a list."""
    member = has_member(what, wanted)

    def test(value: Any) -> bool:
        if type(value) is str and type(wanted) is str:
            return wanted in value
        if value is not None and type(value) is not list:
            raise _wrong(what, value, f"{kind_of(wanted)} inside it")
        return member(value)

    return test


def _of_text(what: str, found: Callable[[str], bool]) -> Test:
    def test(value: Any) -> bool:
        if type(value) is str:
            return found(value)
        if value is None:
            return False
        raise _wrong(what, value, "a text")

    return test


def starts_with(what: str, prefix: str) -> Test:
    return _of_text(what, lambda value: value.startswith(prefix))


def ends_with(what: str, suffix: str) -> Test:
    return _of_text(what, lambda value: value.endswith(suffix))


def pattern(text: str) -> Callable[[str], bool]:
    """Whether a regular expression is found anywhere. RE2: its time grows with the text only. ValueError when wrong."""
    options = re2.Options()
    options.log_errors = False
    try:
        compiled = re2.compile(text, options)
    except re2.error as exc:
        said = exc.args[0]
        raise ValueError(said.decode() if isinstance(said, bytes) else str(said)) from exc
    return lambda value: compiled.search(value) is not None


def matches(what: str, text: str) -> Test:
    return _of_text(what, pattern(text))
