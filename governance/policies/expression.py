"""The language of conditions: its grammar, its parser, and the tree that it gives.

    expression  = conjunction { "or" conjunction }
    conjunction = negation { "and" negation }
    negation    = "not" negation | "(" expression ")" | comparison
    comparison  = operand [ operator operand ]
    operator    = "==" | "!=" | "<" | "<=" | ">" | ">=" | ["not"] "in"
                | "contains" | "startswith" | "endswith" | "matches"
    operand     = field | path | "count(" path ")" | text | number | "true" | "false" | "null" | "[" literals "]"
    field       = "action" | "agent" | "maturity" | "hour" | "session" | "cost" | "complexity"
    path        = ("arguments" | "context") { "." name | "[" number | text "]" } | a JSON pointer into the arguments

`a != b` is `not a == b`, and `a not in b` is `not a in b`. An operand alone is a yes-or-no argument.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NoReturn

MAX_LENGTH = 4_000
MAX_DEPTH = 40
FIELDS = ("action", "agent", "maturity", "hour", "session", "cost", "complexity")
ROOTS = ("arguments", "context")
OPERATORS = ("==", "!=", "<=", ">=", "<", ">", "in", "contains", "startswith", "endswith", "matches")
# What `literal operator operand` is when it is turned around.
_TURNED = {"==": "==", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_WORDS = {"and", "or", "not", "true", "false", "null", "count", *FIELDS, *ROOTS, *OPERATORS}
_INSTEAD = {"=": "==", "&&": "and", "||": "or", "!": "not", "&": "and", "|": "or"}

Scalar = str | int | float | bool | None


class ExpressionError(Exception):
    """A condition that cannot be read or makes no sense; `at` is the offset of the place in its text."""

    def __init__(self, at: int, message: str) -> None:
        self.at = at
        self.message = message
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Field:
    name: str
    at: int = field(default=0, compare=False)

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Path:
    root: str
    steps: tuple[str, ...]
    at: int = field(default=0, compare=False)

    def __str__(self) -> str:
        return ".".join((self.root, *self.steps))


@dataclass(frozen=True, slots=True)
class Count:
    path: Path
    at: int = field(default=0, compare=False)

    def __str__(self) -> str:
        return f"count({self.path})"


@dataclass(frozen=True, slots=True)
class Literal:
    value: Scalar | tuple[Scalar, ...]
    at: int = field(default=0, compare=False)

    def __str__(self) -> str:
        return repr(self.value)


Operand = Field | Path | Count | Literal


@dataclass(frozen=True, slots=True)
class Comparison:
    """`operator` is one of OPERATORS without `!=`; the left side is never a literal, except of `in` a path."""

    operator: str
    left: Operand
    right: Operand
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Holds:
    """An operand alone: a yes-or-no argument."""

    operand: Path
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Not:
    inner: "Node"


@dataclass(frozen=True, slots=True)
class And:
    parts: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Or:
    parts: tuple["Node", ...]


Atom = Comparison | Holds
Node = Atom | Not | And | Or


def atoms(node: Node) -> Iterator[Atom]:
    """Every comparison in a condition, in the order in which they stand."""
    match node:
        case Not(inner):
            yield from atoms(inner)
        case And(parts) | Or(parts):
            for part in parts:
                yield from atoms(part)
        case Comparison() | Holds():
            yield node


_TOKEN = re.compile(
    r"""\s*(?:
        (?P<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?(?![\w.]))
      | (?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
      | (?P<name>[A-Za-z_][\w-]*)
      | (?P<pointer>/[^\s()\[\],=<>!]*)
      | (?P<mark>==|!=|<=|>=|&&|\|\||[<>()\[\],.=!&|])
      | (?P<end>$)
    )""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"', "'": "'", "/": "/"}


@dataclass(frozen=True, slots=True)
class Token:
    kind: str
    text: str
    at: int


def _tokens(text: str) -> list[Token]:
    found: list[Token] = []
    at = 0
    while True:
        match = _TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            start = at + len(text[at:]) - len(text[at:].lstrip())
            what = "This text has no end" if text[start] in "\"'" else f"{text[start]} has no meaning here"
            raise ExpressionError(start, f"{what}.")
        found.append(Token(match.lastgroup, match.group(match.lastgroup), match.start(match.lastgroup)))
        if match.lastgroup == "end":
            return found
        at = match.end()


def parse(text: str) -> Node:
    """The tree of a condition. Raises ExpressionError with the place."""
    if len(text) > MAX_LENGTH:
        raise ExpressionError(MAX_LENGTH, f"A condition has at most {MAX_LENGTH} characters.")
    parser = _Parser(_tokens(text))
    node = parser.expression(0)
    parser.expect_end()
    return node


class _Parser:
    def __init__(self, tokens: list[Token]) -> None:
        self.tokens = tokens
        self.place = 0

    @property
    def next(self) -> Token:
        return self.tokens[self.place]

    def take(self) -> Token:
        token = self.next
        self.place += token.kind != "end"
        return token

    def is_next(self, *texts: str) -> bool:
        return self.next.kind in {"name", "mark"} and self.next.text in texts

    def skip(self, text: str) -> None:
        if not self.is_next(text):
            self.wrong(f"'{text}' is expected here")
        self.take()

    def wrong(self, message: str) -> NoReturn:
        token = self.next
        if token.kind == "end":
            raise ExpressionError(token.at, f"{message}, but the condition ends.")
        if token.kind == "mark" and token.text in _INSTEAD:
            raise ExpressionError(token.at, f"Write '{_INSTEAD[token.text]}' instead of '{token.text}'.")
        raise ExpressionError(token.at, f"{message}, not {token.text}.")

    def expect_end(self) -> None:
        if self.next.kind != "end":
            self.wrong("'and', 'or' or the end is expected here")

    def expression(self, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise ExpressionError(self.next.at, f"The condition is nested deeper than {MAX_DEPTH} levels.")
        parts = [self.conjunction(depth)]
        while self.is_next("or"):
            self.take()
            parts.append(self.conjunction(depth))
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def conjunction(self, depth: int) -> Node:
        parts = [self.negation(depth)]
        while self.is_next("and"):
            self.take()
            parts.append(self.negation(depth))
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def negation(self, depth: int) -> Node:
        if self.is_next("not"):
            self.take()
            if depth > MAX_DEPTH:
                raise ExpressionError(self.next.at, f"The condition is nested deeper than {MAX_DEPTH} levels.")
            return Not(self.negation(depth + 1))
        if self.is_next("("):
            self.take()
            inside = self.expression(depth + 1)
            self.skip(")")
            return inside
        return self.comparison()

    def comparison(self) -> Node:
        left = self.operand()
        operator = self.next
        if self.is_next("not") and self.tokens[self.place + 1].text == "in":
            self.take()
        if not self.is_next(*OPERATORS):
            if isinstance(left, Path) and (self.next.kind == "end" or self.is_next("and", "or", ")")):
                return Holds(left, left.at)
            self.wrong("A comparison is expected here")
        name = self.take().text
        right = self.operand()
        is_negated = operator.text == "not" or name == "!="
        return _comparison(is_negated, "==" if name == "!=" else name, left, right, operator.at)

    def operand(self) -> Operand:
        token = self.next
        match token.kind:
            case "number":
                self.take()
                return Literal(int(token.text) if token.text.lstrip("-").isdigit() else float(token.text), token.at)
            case "text":
                self.take()
                return Literal(_unquoted(token), token.at)
            case "pointer":
                self.take()
                steps = token.text[1:].split("/")
                return Path("arguments", tuple(step.replace("~1", "/").replace("~0", "~") for step in steps), token.at)
            case "name":
                return self.named()
            case _:
                return self.listed()

    def listed(self) -> Literal:
        if not self.is_next("["):
            self.wrong("A field, a path or a value is expected here")
        start = self.take()
        values: list[Scalar] = []
        while not self.is_next("]"):
            item = self.operand()
            if not isinstance(item, Literal) or item.value is None or isinstance(item.value, tuple):
                raise ExpressionError(item.at, "A list holds texts, numbers, true and false.")
            values.append(item.value)
            if not self.is_next("]"):
                self.skip(",")
        self.take()
        return Literal(tuple(values), start.at)

    def named(self) -> Operand:
        token = self.take()
        match token.text:
            case "true" | "false":
                return Literal(token.text == "true", token.at)
            case "null":
                return Literal(None, token.at)
            case "count":
                self.skip("(")
                path = self.operand()
                if not isinstance(path, Path):
                    raise ExpressionError(path.at, "count() takes a path, such as count(arguments.ids).")
                self.skip(")")
                return Count(path, token.at)
            case name if name in FIELDS:
                return Field(name, token.at)
            case name if name in ROOTS:
                return self.path(token)
        raise ExpressionError(token.at, _unknown(token.text))

    def path(self, root: Token) -> Path:
        steps: list[str] = []
        while self.is_next(".", "["):
            if self.take().text == ".":
                if self.next.kind != "name":
                    self.wrong("A name is expected after the dot")
                steps.append(self.take().text)
                continue
            step = self.operand()
            if not isinstance(step, Literal) or isinstance(step.value, bool) or not isinstance(step.value, str | int):
                raise ExpressionError(step.at, "Between the brackets belongs a number or a text.")
            steps.append(str(step.value))
            self.skip("]")
        if not steps:
            raise ExpressionError(root.at, f"Say which of the {root.text}: {root.text}.name")
        return Path(root.text, tuple(steps), root.at)


def _unknown(name: str) -> str:
    if name.lower() in _WORDS:
        return f"Write '{name.lower()}' in lower case."
    known = ", ".join((*FIELDS, *ROOTS))
    return f"There is no field '{name}'. Fields: {known}. Did you mean arguments.{name}?"


def _unquoted(token: Token) -> str:
    def plain(found: re.Match[str]) -> str:
        escape = found.group(1)
        if escape not in _ESCAPES:
            # In a regex, `\d` is two characters, as it would be in any file.
            return f"\\{escape}"
        return _ESCAPES[escape]

    return re.sub(r"\\(.)", plain, token.text[1:-1], flags=re.DOTALL)


def _comparison(is_negated: bool, operator: str, left: Operand, right: Operand, at: int) -> Node:
    if isinstance(left, Literal) and isinstance(right, Literal):
        raise ExpressionError(at, "This compares two fixed values; it is always the same.")
    if isinstance(left, Literal) and operator in _TURNED:
        left, right, operator = right, left, _TURNED[operator]
    found = Comparison(operator, left, right, at)
    return Not(found) if is_negated else found
