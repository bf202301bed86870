"""The text of a document as a tree that knows its places. YAML is read strictly: nothing is guessed.

What YAML would quietly turn into something else (`no`, `1:30`, `0777`, dates, aliases, a name given twice) is refused.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

import yaml

from governance.policies.problems import PolicyRefused, Problem

MAX_LENGTH = 256_000
MAX_DEPTH = 32
_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")
_ESCAPE = re.compile(r"\\(x.{2}|u.{4}|U.{8}|.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Tree:
    """A value of the document: a scalar, a list of trees, or trees by name; `path` is how to get there."""

    value: "str | int | float | bool | list[Tree] | dict[str, Tree] | None"
    path: str
    line: int
    column: int
    # Of a text, where in the source each of its visible characters stands: (line, column).
    places: tuple[tuple[int, int], ...] = ()

    def problem(self, message: str) -> Problem:
        return Problem(self.line, self.column, self.path, message)

    def problem_at(self, offset: int, message: str) -> Problem:
        """A problem inside this text, at the character `offset`."""
        text = self.value if isinstance(self.value, str) else ""
        seen = sum(not character.isspace() for character in text[:offset])
        if not self.places:
            return self.problem(message)
        if seen < len(self.places):
            line, column = self.places[seen]
        else:
            line, column = self.places[-1]
            column += 1
        return Problem(line, column, self.path, message)

    def plain(self) -> Any:
        """The value without its places, as JSON has it."""
        if isinstance(self.value, list):
            return [item.plain() for item in self.value]
        if isinstance(self.value, dict):
            return {name: item.plain() for name, item in self.value.items()}
        return self.value


def text_of(document: str | dict[str, Any]) -> str:
    """The document as text; an object becomes JSON, which is YAML too."""
    return document if isinstance(document, str) else json.dumps(document, indent=2, ensure_ascii=False)


def read(text: str) -> Tree:
    """The tree of a document's text; PolicyRefused when it is not YAML, or not unmistakable."""
    if len(text) > MAX_LENGTH:
        raise PolicyRefused([Problem(1, 1, "", f"The document is longer than {MAX_LENGTH} characters.")])
    try:
        node = yaml.compose(text, Loader=_Loader)
    except yaml.reader.ReaderError as exc:
        before = text[: exc.position]
        place = (before.count("\n") + 1, len(before) - before.rfind("\n"))
        raise PolicyRefused([Problem(*place, "", "This character may not stand in a document.")]) from exc
    except yaml.MarkedYAMLError as exc:
        raise PolicyRefused([_syntax_problem(exc)]) from exc
    if node is None:
        raise PolicyRefused([Problem(1, 1, "", "The document is empty.")])
    return _Reader(text).tree(node, "", 0)


def _syntax_problem(exc: yaml.MarkedYAMLError) -> Problem:
    mark = exc.problem_mark or exc.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    return Problem(line, column, "", f"This is not YAML: {exc.problem or exc.context}.")


class _Loader(yaml.SafeLoader):
    """Without aliases, which can make a small text enormous, and not deeper than anybody would write."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise self._refused("aliases are not taken")
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self._refused("it is nested too deep")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def _refused(self, problem: str) -> yaml.MarkedYAMLError:
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]  # its stubs leave it out
        return yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text

    def tree(self, node: yaml.Node, path: str, depth: int) -> Tree:
        line, column = node.start_mark.line + 1, node.start_mark.column + 1
        if isinstance(node, yaml.MappingNode):
            return Tree(self._members(node, path, depth), path, line, column)
        if isinstance(node, yaml.SequenceNode):
            items = [self.tree(item, f"{path}[{place}]", depth + 1) for place, item in enumerate(node.value)]
            return Tree(items, path, line, column)
        assert isinstance(node, yaml.ScalarNode)
        value = self._scalar(node, path)
        return Tree(value, path, line, column, self._places(node) if isinstance(value, str) else ())

    def _members(self, node: yaml.MappingNode, path: str, depth: int) -> dict[str, Tree]:
        found: dict[str, Tree] = {}
        for key, value in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else None
            place = (key.start_mark.line + 1, key.start_mark.column + 1)
            if name is None:
                raise PolicyRefused([Problem(*place, path, "A name must be a plain word.")])
            if name in found:
                raise PolicyRefused([Problem(*place, f"{path}.{name}".strip("."), f"'{name}' is given twice.")])
            found[name] = self.tree(value, f"{path}.{name}".strip("."), depth + 1)
        return found

    def _scalar(self, node: yaml.ScalarNode, path: str) -> str | int | float | bool | None:
        text = node.value
        if node.style is not None or node.tag == "tag:yaml.org,2002:str":
            if node.style is None and _NUMBER.fullmatch(text):
                return float(text)
            return str(text)
        if _NUMBER.fullmatch(text):
            return int(text) if text.lstrip("-").isdigit() else float(text)
        if text in {"true", "false"}:
            return bool(text == "true")
        if text in {"null", "~", ""}:
            return None
        place = (node.start_mark.line + 1, node.start_mark.column + 1)
        raise PolicyRefused([Problem(*place, path, f"YAML would read {text} as something else: write it in quotes.")])

    def _places(self, node: yaml.ScalarNode) -> tuple[tuple[int, int], ...]:
        """Where each visible character of a text stands: its non-blanks come in the same order as in the source."""
        start, end = node.start_mark.index, node.end_mark.index
        if node.style in {"|", ">"}:
            start = self.text.index("\n", start) + 1
        elif node.style in {"'", '"'}:
            start, end = start + 1, end - 1
        found: list[tuple[int, int]] = []
        line, line_start = self.text.count("\n", 0, start) + 1, self.text.rfind("\n", 0, start) + 1
        index = start
        while index < end:
            width, stands_for = self._unit(node.style, index)
            if self.text[index] == "\n":
                line, line_start = line + 1, index + 1
            elif not stands_for.isspace():
                found.append((line, index - line_start + 1))
            index += width
        return tuple(found)

    def _unit(self, style: str | None, index: int) -> tuple[int, str]:
        """How many characters of the source stand for one of the text, and roughly which."""
        character = self.text[index]
        if style == '"' and character == "\\":
            escape = _ESCAPE.match(self.text, index)
            said = escape.group(1) if escape else character
            return (len(said) + 1, " " if said in {"n", "t", "r", " ", "\n"} else said)
        if style == "'" and self.text.startswith("''", index):
            return 2, "'"
        return 1, character
