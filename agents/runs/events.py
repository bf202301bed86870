"""What a run tells its listeners: typed events, and how they stand on the wire.

On the wire: `{"seq": 4, "run_id": "…", "type": "text_delta", "text": "Hi"}`. A run ends with exactly one `RunEnded`.
"""

import re
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, TypeAlias

import orjson


@dataclass(frozen=True, slots=True)
class TextDelta:
    text: str


@dataclass(frozen=True, slots=True)
class ThinkingDelta:
    text: str


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A judged and allowed call that the client executes; `arguments` is JSON text as the model wrote it."""

    call_id: str
    name: str
    arguments: str
    # The place of its answer, where several were asked for, and what else the chat wire says of it.
    choice: int | None = None
    extra: dict[str, Any] | None = None

    optional: ClassVar[frozenset[str]] = frozenset({"choice", "extra"})


@dataclass(frozen=True, slots=True)
class WireDelta:
    """What only the chat wire tells: a piece of another answer than the first (`n`), or fields that we do not know.

    `beside` stands in the choice, `within` in its delta, `around` in the chunk.
    """

    choice: int = 0
    text: str = ""
    thinking: str = ""
    beside: dict[str, Any] = field(default_factory=dict)
    within: dict[str, Any] = field(default_factory=dict)
    around: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ToolJudged:
    call_id: str
    name: str
    decision: str
    reason: str


@dataclass(frozen=True, slots=True)
class ToolStarted:
    call_id: str
    name: str


@dataclass(frozen=True, slots=True)
class ToolProgress:
    """How far a tool says that it is; `total` is None where it does not know."""

    call_id: str
    name: str
    progress: float
    total: float | None = None
    message: str = ""


@dataclass(frozen=True, slots=True)
class ToolEnded:
    call_id: str
    name: str
    ok: bool
    result: str


@dataclass(frozen=True, slots=True)
class ApprovalNeeded:
    approval_id: str
    call_id: str
    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Paused:
    """An operator holds the run: nothing more is said or done until `resumed`."""


@dataclass(frozen=True, slots=True)
class Resumed:
    """It goes on."""


@dataclass(frozen=True, slots=True)
class Corrected:
    """Operator `by` has put `text` into the conversation. What was said since the last tool call has broken off; the
    model answers anew.
    """

    text: str
    by: str = ""


@dataclass(frozen=True, slots=True)
class RunEnded:
    """`error` is `{"message", "type", "code"}` when the run did not succeed; `usage` counts tokens."""

    status: str
    error: dict[str, Any] | None = None
    message_id: str | None = None
    finish_reason: str = "stop"
    usage: dict[str, int] = field(default_factory=dict)
    cost_usd: str | None = None
    provider: str = ""
    model: str = ""
    # Why the other answers ended, where several were asked for, from the second on.
    others: list[str] | None = None

    # Fields that are left off the wire while they are None.
    optional: ClassVar[frozenset[str]] = frozenset({"error", "others"})


RunEvent: TypeAlias = (
    TextDelta
    | ThinkingDelta
    | ToolCall
    | WireDelta
    | ToolJudged
    | ToolStarted
    | ToolProgress
    | ToolEnded
    | ApprovalNeeded
    | Paused
    | Resumed
    | Corrected
    | RunEnded
)


def pending_text(name: str, approval_id: object) -> str:
    """What is said in place of a call that waits for people."""
    return f"approval_pending: {name} waits for the approval {approval_id}."


def _wire_name(kind: type) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower()


KINDS: dict[str, type] = {
    _wire_name(kind): kind
    for kind in (
        TextDelta, ThinkingDelta, ToolCall, WireDelta, ToolJudged, ToolStarted, ToolProgress, ToolEnded, ApprovalNeeded,
        Paused, Resumed, Corrected, RunEnded,
    )
}  # fmt: skip
NAMES = {kind: name for name, kind in KINDS.items()}
_FIELDS = {kind: tuple(item.name for item in fields(kind)) for kind in NAMES}
_OPTIONAL: dict[type, frozenset[str]] = {kind: getattr(kind, "optional", frozenset()) for kind in NAMES}


def data_of(event: RunEvent) -> dict[str, Any]:
    """The event's own fields, as they stand on the wire."""
    kind = type(event)
    values = {name: getattr(event, name) for name in _FIELDS[kind]}
    if optional := _OPTIONAL[kind]:
        return {name: value for name, value in values.items() if value is not None or name not in optional}
    return values


def encode(seq: int, run_id: str, event: RunEvent) -> bytes:
    """One event as JSON, in one line."""
    if type(event) is TextDelta:
        # Nearly all of them are, and there are many.
        return orjson.dumps({"seq": seq, "run_id": run_id, "type": "text_delta", "text": event.text})
    return orjson.dumps({"seq": seq, "run_id": run_id, "type": NAMES[type(event)], **data_of(event)})


@dataclass(frozen=True, slots=True)
class Recorded:
    """An event with its place in the run, and the bytes that every door sends."""

    seq: int
    raw: bytes
    event: RunEvent


def decode(raw: bytes) -> Recorded:
    """The event in one line of JSON that `encode` wrote."""
    found = orjson.loads(raw)
    kind = KINDS[found["type"]]
    values = {name: found[name] for name in _FIELDS[kind] if name in found}
    return Recorded(found["seq"], raw, kind(**values))
