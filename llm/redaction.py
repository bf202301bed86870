"""Takes the key of a call out of what its model says: a server that echoes its headers must not hand the key on.

Only texts that hold the key are changed, byte for byte. A text that merely begins like it is late by some letters.
"""

import json
from collections.abc import Iterator
from dataclasses import replace

from llm.events import Event, Finished, TextDelta, ThinkingDelta, ThoughtReady, ToolCallReady
from llm.messages import ToolCall

REMOVED = "[key removed]"
# So much of a key may be said: providers begin all their keys alike ("sk-proj-"), and holding back less would hold
# back ordinary words.
SAID_CHARS = 8
# Shorter secrets are no keys but words ("ollama", "none") that local servers are given, and models say.
LEAST_CHARS = 16


class Redactor:
    """One per call; `secret` is what was sent with it."""

    def __init__(self, secret: str) -> None:
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
            case ToolCallReady(call):
                yield ToolCallReady(self._cleaned(call))
            case ThoughtReady(thought):
                # A sealed thought goes back as it is or not at all; with the key in it, it would be kept with the run.
                if not any(form in json.dumps(thought.data, ensure_ascii=False) for form in self._forms):
                    yield event
            case Finished():
                if rest := self._thinking.rest():
                    yield ThinkingDelta(rest)
                if rest := self._text.rest():
                    yield TextDelta(rest)
                yield event
            case _:
                # Counts, which are no words of the model's.
                yield event

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
        self._borders = _borders_of(self._secret)
        # So many letters at the end of what came are the key's first ones; of those, these are held back.
        self._matched = 0
        self._held = ""

    def said(self, piece: str) -> str:
        """What may be said now."""
        if not self._secret or (not self._matched and self._secret[0] not in piece):
            return piece
        return "".join(map(self._after, piece))

    def rest(self) -> str:
        """What was held back and is not the key after all, as the text has ended."""
        rest, self._held, self._matched = self._held, "", 0
        return rest

    def _after(self, char: str) -> str:
        while self._matched and self._secret[self._matched] != char:
            self._matched = self._borders[self._matched - 1]
        self._matched += self._secret[self._matched] == char
        if self._matched == len(self._secret):
            self._held, self._matched = "", 0
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
