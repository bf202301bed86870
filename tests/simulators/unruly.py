"""A provider that fails by a seeded dice, and keeps a ledger of what it did with each request."""

import random
from dataclasses import dataclass

from aiohttp import web

from tests.simulators.openai import OpenAISimulator
from tests.simulators.scripts import Ending, Script, Seen
from tests.simulators.server import words

SENTENCE = "the quick brown fox jumps over the lazy dog"
GOOD = "good"
# How it fails, and how often among a hundred failures. `late` and `stuck` outlast every timeout of these tests.
KINDS = {"error": 25, "limited": 10, "reset": 20, "cut": 20, "late": 10, "stuck": 10, "rubbish": 5}


@dataclass(frozen=True, slots=True)
class Entry:
    model: str
    kind: str
    streamed: bool

    @property
    def is_good(self) -> bool:
        # Cut or stuck are words of a stream; an answer that comes in one piece is not either.
        return self.kind == GOOD


class UnrulyOpenAI(OpenAISimulator):
    """`failing` is the share of requests that fail, from 0 to 1; `active` says how many are being answered."""

    def __init__(self, *, seed: int, failing: float, delay_s: float = 0.005) -> None:
        super().__init__(delay_s=delay_s)
        self.failing = failing
        self.ledger: list[Entry] = []
        self.active = 0
        self._dice = random.Random(seed)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.active += 1
        try:
            return await super().answer(request)
        finally:
            self.active -= 1

    def _echo(self, asked: Seen) -> Script:
        is_stream = self.is_streamed(asked)
        kind = GOOD
        if self._dice.random() < self.failing:
            [kind] = self._dice.choices(list(KINDS), weights=list(KINDS.values()))
        if not is_stream and kind in {"reset", "cut", "stuck"}:
            kind = "rubbish"
        self.ledger.append(Entry(asked.json["model"], kind, is_stream))
        return self._script(kind, self._dice.randrange(6))

    def _script(self, kind: str, after: int) -> Script:
        said = Script(pieces=words(SENTENCE), delay_s=self._default_delay_s)
        match kind:
            case "error":
                return Script(status=self._dice.choice([500, 502, 503]), body="{}")
            case "limited":
                return Script(status=429, body="{}")
            case "reset":
                said.cut_after, said.ending = after, Ending.RST
            case "cut":
                said.cut_after = after
            case "stuck":
                said.cut_after, said.ending = after, Ending.HANG
            case "late":
                said.headers_delay_s = 30
            case "rubbish":
                return Script(body="<html>busy</html>", content_type="text/html")
        return said
