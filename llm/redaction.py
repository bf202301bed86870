"""Takes the key of a call out of what its model says: a server that echoes its headers must not hand the key on.

Only texts that hold the key, or end in the middle of it, are changed. One that merely begins like it is late by some
letters.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property

from llm.events import Event, Finished, TextDelta, ThinkingDelta, ThoughtReady, ToolCallReady, WireDelta
from llm.messages import ToolCall

REMOVED = "[key removed]"
# So much of a key may be said: providers begin all their keys alike ("sk-proj-"), and holding back less would hold
# back ordinary words.
SAID_CHARS = 8
# Shorter secrets are no keys but words ("ollama", "none") that local servers are given, and models say. At the end of a
# text so many letters of the key are the key, broken off.
LEAST_CHARS = 16


class Redactor:
    """One per call; `secret` is what was sent with it."""

    def __init__(self, secret: str) -> None:
        self._secret = secret
        self._others: dict[int, tuple[_Line, _Line]] = {}
        self._text = _Line(secret)
        self._thinking = _Line(secret)
        self._forms = [form for form in {secret, json.dumps(secret)[1:-1]} if len(secret) >= LEAST_CHARS]

    def events(self, event: Event) -> Iterator[Event]:
        """What may be said of this event, and before the finish what had been held back."""
        match event:
            case TextDelta(text):
                if said := self._text.said(text):
                    yield TextDelta(said)
            case ThinkingDelta(text):
                if said := self._thinking.said(text):
                    yield ThinkingDelta(said)
            case WireDelta():
                yield from self._of_wire(event)
            case ToolCallReady(call):
                yield ToolCallReady(self._cleaned(call))
            case ThoughtReady(thought):
                # A sealed thought goes back as it is or not at all; with the key in it, it would be kept with the run.
                if not any(form in json.dumps(thought.data, ensure_ascii=False) for form in self._forms):
                    yield event
            case Finished():
                yield from self._rest()
                yield event
            case _:
                # Counts, which are no words of the model's.
                yield event

    def _rest(self) -> Iterator[Event]:
        """What was held back and is not the key."""
        for choice, (text, thinking) in self._others.items():
            yield WireDelta(choice, text=text.rest(), thinking=thinking.rest())
        if rest := self._thinking.rest():
            yield ThinkingDelta(rest)
        if rest := self._text.rest():
            yield TextDelta(rest)

    def _of_wire(self, event: WireDelta) -> Iterator[Event]:
        """Fields with the key in them are let go, and those that stand beside what is held back."""
        text, thinking = self._text, self._thinking
        if event.choice:
            text, thinking = self._others.setdefault(event.choice, (_Line(self._secret), _Line(self._secret)))
        fields = (event.beside, event.within, event.around)
        is_open = not any(form in json.dumps(fields, ensure_ascii=False) for form in self._forms)
        said, thought = text.said(event.text), thinking.said(event.thinking)
        if is_open and not (text.is_holding or thinking.is_holding):
            yield replace(event, text=said, thinking=thought)
        elif said or thought:
            yield WireDelta(event.choice, text=said, thinking=thought)

    def _cleaned(self, call: ToolCall) -> ToolCall:
        for form in self._forms:
            call = replace(
                call,
                id=call.id.replace(form, REMOVED),
                name=call.name.replace(form, REMOVED),
                arguments=call.arguments.replace(form, REMOVED),
            )
        return call


class _Line:
    """A text that comes in pieces, searched as Knuth, Morris and Pratt do: no letter is looked at twice."""

    def __init__(self, secret: str) -> None:
        self._secret = secret if len(secret) >= LEAST_CHARS else ""
        # So many letters at the end of what came are the key's first ones; of those, these are held back.
        self._matched = 0
        self._held = ""
        # The key has just been taken out of what came last.
        self._was_key = False

    def said(self, piece: str) -> str:
        """What may be said now."""
        if piece:
            self._was_key = False
        if not self._matched and self._has_none_of(piece):
            return piece
        return "".join(map(self._after, piece))

    def _has_none_of(self, piece: str) -> bool:
        """Whether the key can neither stand in the piece nor begin at its end."""
        return not self._secret or (self._secret[:2] not in piece and not piece.endswith(self._secret[0]))

    @cached_property
    def _borders(self) -> list[int]:
        return _borders_of(self._secret)

    @property
    def is_holding(self) -> bool:
        """Whether what came last begins like the key, or was it."""
        return self._matched > SAID_CHARS or self._was_key

    def rest(self) -> str:
        """What was held back and is not the key after all, as the text has ended; a key that breaks off is one."""
        rest = REMOVED if self._matched >= LEAST_CHARS else self._held
        self._held, self._matched = "", 0
        return rest

    def _after(self, char: str) -> str:
        while self._matched and self._secret[self._matched] != char:
            self._matched = self._borders[self._matched - 1]
        self._matched += self._secret[self._matched] == char
        if self._matched == len(self._secret):
            self._held, self._matched, self._was_key = "", 0, True
            return REMOVED
        waiting = self._held + char
        free = len(waiting) - max(0, self._matched - SAID_CHARS)
        self._held = waiting[free:]
        return waiting[:free]


def _borders_of(secret: str) -> list[int]:
    """For each beginning of the secret, how long its longest proper beginning is that also ends it."""
    borders = [0] * len(secret)
    length = 0
    for place in range(1, len(secret)):
        while length and secret[place] != secret[length]:
            length = borders[length - 1]
        length += secret[place] == secret[length]
        borders[place] = length
    return borders
