"""What a correction changes in an answer, word by word."""

import difflib
import re
from dataclasses import dataclass
from typing import Literal

# Beyond this many words the comparison goes by lines: by words it would take a reader's patience.
MOST_WORDS = 4000
_WORDS = re.compile(r"\s+|\w+|[^\w\s]")


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of text that stayed, was taken out, or was put in."""

    op: Literal["same", "removed", "added"]
    text: str


def compare(answer: str, correction: str) -> list[Piece]:
    """The pieces in reading order; `same` and `removed` make the answer again, `same` and `added` the correction."""
    old, new = _words(answer), _words(correction)
    if len(old) + len(new) > MOST_WORDS:
        old, new = answer.splitlines(keepends=True), correction.splitlines(keepends=True)
    pieces: list[Piece] = []
    matcher = difflib.SequenceMatcher(a=old, b=new, autojunk=False)
    for kind, old_from, old_to, new_from, new_to in matcher.get_opcodes():
        if kind == "equal":
            pieces.append(Piece("same", "".join(old[old_from:old_to])))
            continue
        if old_to > old_from:
            pieces.append(Piece("removed", "".join(old[old_from:old_to])))
        if new_to > new_from:
            pieces.append(Piece("added", "".join(new[new_from:new_to])))
    return pieces


def _words(text: str) -> list[str]:
    return _WORDS.findall(text)
