"""Whether a condition makes sense before anybody asks it: kinds that fit, known words, regular expressions that are."""

from governance.policies.expression import (
    Atom,
    Comparison,
    Count,
    ExpressionError,
    Field,
    Holds,
    Literal,
    Node,
    Operand,
    Path,
    atoms,
)
from governance.policies.facts import LEVELS, normal_action
from governance.policies.meaning import ORDER, kind_of, pattern

TEXT, NUMBER, TRUTH = "a text", "a number", "yes or no"
FIELD_KINDS: dict[str, str] = {
    "action": TEXT,
    "agent": TEXT,
    "maturity": TEXT,
    "session": TEXT,
    "hour": NUMBER,
    "cost": NUMBER,
    "complexity": NUMBER,
}
_RANGES: dict[str, tuple[int, int]] = {"hour": (0, 23), "complexity": (1, 4)}


def check(node: Node) -> None:
    """Raise ExpressionError at the first comparison that cannot be meant."""
    kinds: dict[Path, str] = {}
    for atom in atoms(node):
        if isinstance(atom, Holds):
            _agree(kinds, atom.operand, TRUTH, atom.at)
            continue
        _check_sides(atom)
        _check_values(atom)
        if isinstance(atom.left, Path) and (kind := _demanded(atom)):
            _agree(kinds, atom.left, kind, atom.at)


def _agree(kinds: dict[Path, str], path: Path, kind: str, at: int) -> None:
    before = kinds.setdefault(path, kind)
    if before != kind:
        raise ExpressionError(at, f"{path} is compared with {kind} here, and with {before} before: unlike types.")


def _demanded(atom: Comparison) -> str | None:
    """The kind that the path on the left must have; None when it is open."""
    if atom.operator in {"startswith", "endswith", "matches"}:
        return TEXT
    if atom.operator in ORDER:
        return NUMBER
    if atom.operator == "in" and isinstance(atom.right, Literal) and isinstance(atom.right.value, tuple):
        return kind_of(atom.right.value[0])
    if atom.operator == "==":
        kind = _kind(atom.right)
        return None if kind == "nothing" else kind
    return None


def _kind(operand: Operand) -> str | None:
    """What is known of an operand's kind; None of a path."""
    match operand:
        case Field(name):
            return FIELD_KINDS[name]
        case Count():
            return NUMBER
        case Literal(value):
            return kind_of(value)
    return None


def _check_sides(atom: Comparison) -> None:
    """Which kinds may stand on which side of the operator."""
    left, right = _kind(atom.left), _kind(atom.right)
    match atom.operator:
        case "startswith" | "endswith" | "matches":
            _expect(atom.left, left, TEXT, atom.operator)
            if not isinstance(atom.right, Literal):
                raise ExpressionError(atom.right.at, f"After '{atom.operator}' belongs a fixed text.")
            _expect(atom.right, right, TEXT, atom.operator)
        case "in":
            _check_in(atom, left)
        case "contains":
            if isinstance(atom.left, Literal) or left == NUMBER:
                raise ExpressionError(atom.left.at, "Before 'contains' belongs a text or a list.")
            if not isinstance(atom.right, Literal) or isinstance(atom.right.value, tuple) or atom.right.value is None:
                raise ExpressionError(atom.right.at, "After 'contains' belongs a fixed text, number, true or false.")
            if left == TEXT:
                _expect(atom.right, right, TEXT, atom.operator)
        case "==":
            if isinstance(atom.right, Literal) and isinstance(atom.right.value, tuple):
                raise ExpressionError(atom.right.at, "A list is compared with 'in', not with '=='.")
            _check_alike(atom, left, right)
        case _:
            if _is_maturity(atom.left) and right == TEXT:
                return
            _expect(atom.left, left, NUMBER, atom.operator)
            _expect(atom.right, right, NUMBER, atom.operator)


def _check_in(atom: Comparison, left: str | None) -> None:
    if isinstance(atom.right, Path):
        if not isinstance(atom.left, Literal) or isinstance(atom.left.value, tuple) or atom.left.value is None:
            raise ExpressionError(atom.left.at, "Only a fixed text or number can be looked for in a path.")
        return
    if not isinstance(atom.right, Literal) or not isinstance(atom.right.value, tuple):
        raise ExpressionError(atom.right.at, "After 'in' belongs a list, or a path to one.")
    if isinstance(atom.left, Literal):
        raise ExpressionError(atom.at, "This compares two fixed values; it is always the same.")
    if not atom.right.value:
        raise ExpressionError(atom.right.at, "Nothing is in an empty list, so this never holds.")
    if len({kind_of(value) for value in atom.right.value}) > 1:
        raise ExpressionError(atom.right.at, "A list holds values of one kind.")
    kind = kind_of(atom.right.value[0])
    if left not in {None, kind}:
        raise ExpressionError(atom.at, f"{atom.left} is {left}, and the list has {kind}: unlike types.")


def _check_alike(atom: Comparison, left: str | None, right: str | None) -> None:
    if right == "nothing" and isinstance(atom.left, Field) and atom.left.name not in {"session", "cost"}:
        raise ExpressionError(atom.at, f"{atom.left} is never null, so this never holds.")
    if left and right and right not in {"nothing", left}:
        raise ExpressionError(atom.at, f"{atom.left} is {left} and {atom.right} is {right}: unlike types.")


def _is_maturity(operand: Operand) -> bool:
    return isinstance(operand, Field) and operand.name == "maturity"


def _expect(operand: Operand, kind: str | None, wanted: str, operator: str) -> None:
    if kind not in {None, wanted}:
        raise ExpressionError(operand.at, f"'{operator}' compares {wanted}, but {operand} is {kind}: unlike types.")


def _check_values(atom: Comparison) -> None:
    """Fixed values that the field can never have are mistakes too."""
    if not isinstance(atom.right, Literal):
        return
    values = atom.right.value if isinstance(atom.right.value, tuple) else (atom.right.value,)
    if atom.operator == "matches":
        try:
            pattern(str(values[0]))
        except ValueError as exc:
            raise ExpressionError(atom.right.at, f"This is not a regular expression: {exc}.") from exc
    if not isinstance(atom.left, Field) or atom.operator not in {"==", "in", *ORDER}:
        return
    for value in values:
        _check_value(atom.left.name, value, atom.right.at, is_order=atom.operator in ORDER)


def _check_value(name: str, value: object, at: int, *, is_order: bool) -> None:
    if name == "maturity" and value not in LEVELS:
        raise ExpressionError(at, f"There is no maturity '{value}'. Levels: {', '.join(LEVELS)}.")
    if name == "action" and isinstance(value, str) and normal_action(value) != value:
        raise ExpressionError(at, f"Actions are compared in small letters with _: write '{normal_action(value)}'.")
    if name in _RANGES and not is_order:
        lowest, highest = _RANGES[name]
        if isinstance(value, int | float) and (value != int(value) or not lowest <= value <= highest):
            raise ExpressionError(at, f"{name} is a whole number from {lowest} to {highest}.")


def slugs_in(node: Node) -> list[tuple[str, int]]:
    """The agents that a condition names, with their places."""
    found: list[tuple[str, int]] = []
    for atom in atoms(node):
        if _names_agents(atom) and isinstance(atom, Comparison) and isinstance(atom.right, Literal):
            values = atom.right.value if isinstance(atom.right.value, tuple) else (atom.right.value,)
            found.extend((str(value), atom.right.at) for value in values)
    return found


def _names_agents(atom: Atom) -> bool:
    return (
        isinstance(atom, Comparison)
        and isinstance(atom.left, Field)
        and atom.left.name == "agent"
        and atom.operator in {"==", "in"}
    )
