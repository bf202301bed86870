"""What a model call yields: zero or more deltas, then exactly one `Finished`. A failure is raised."""

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from llm.messages import Thought, ToolCall

FinishReason: TypeAlias = Literal["stop", "length", "tool_calls", "content_filter"]


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the provider counted them; 0 where it said nothing."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cached_tokens + other.cached_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
        )


NO_USAGE = Usage()


@dataclass(slots=True)
class Meter:
    """What the provider has said of the tokens so far; it stands here also when the answer breaks off.

    None until it says anything: an explicit zero is something else.
    """

    usage: Usage | None = None


@dataclass(frozen=True, slots=True)
class TextDelta:
    text: str


@dataclass(frozen=True, slots=True)
class ThinkingDelta:
    text: str


@dataclass(frozen=True, slots=True)
class WireDelta:
    """What only callers of the chat wire are told: a piece of another answer than the first, and unknown fields.

    `beside` stands in the choice, `within` in its delta, `around` in the chunk.
    """

    choice: int = 0
    text: str = ""
    thinking: str = ""
    beside: dict[str, Any] = field(default_factory=dict)
    within: dict[str, Any] = field(default_factory=dict)
    around: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ToolCallReady:
    """A tool call whose arguments are complete."""

    call: ToolCall


@dataclass(frozen=True, slots=True)
class ThoughtReady:
    """A thought to be sent back with the calls beside it; comes before the call that it belongs to."""

    thought: Thought


@dataclass(frozen=True, slots=True)
class Finished:
    reason: FinishReason
    usage: Usage
    # Why the other answers ended, where several were asked for, from the second on.
    others: tuple[FinishReason, ...] = ()


Event: TypeAlias = TextDelta | WireDelta | ThinkingDelta | ThoughtReady | ToolCallReady | Finished
