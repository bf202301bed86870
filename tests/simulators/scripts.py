"""What a simulated provider is to do with one request."""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any


class Ending(Enum):
    """How a stream stops that does not come to its end."""

    EOF = "eof"
    RST = "rst"
    HANG = "hang"


@dataclass(frozen=True, slots=True)
class ScriptedCall:
    name: str
    arguments: str
    id: str


@dataclass(slots=True)
class Script:
    """One answer. Chunks are counted without the first (role) one."""

    pieces: list[str] = field(default_factory=list)
    thinking: list[str] = field(default_factory=list)
    calls: list[ScriptedCall] = field(default_factory=list)
    finish: str | None = None
    # Before the headers, before the first chunk, and between chunks.
    headers_delay_s: float = 0.0
    first_delay_s: float = 0.0
    delay_s: float = 0.0
    cut_after: int | None = None
    ending: Ending = Ending.EOF
    usage: dict[str, Any] | None = field(default_factory=dict)
    usage_with_finish: bool = False
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    # Sent as they are, instead of an answer or a stream.
    body: str | None = None
    raw: list[bytes] | None = None
    content_type: str = "application/json"
    newline: str = "\n"
    pings: bool = False
    done: bool = True
    # After `cut_after` pieces an error event of this kind, which repeats the caller's key.
    error: str | None = None
    # Every chunk of the stream carries what has been counted so far.
    usage_cumulative: bool = False
    # The provider's seal on the thoughts before the calls, where its wire has one.
    seal: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as the simulator got it."""

    method: str
    path: str
    headers: dict[str, str]
    json: Any
    query: dict[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """The key that came with it, in whichever header."""
        names = ("authorization", "x-api-key", "x-goog-api-key")
        return next((self.headers[name] for name in names if name in self.headers), "")
