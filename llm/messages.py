"""What is sent to a model: typed, frozen, the same for every wire."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

Role: TypeAlias = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True, slots=True)
class Text:
    text: str


@dataclass(frozen=True, slots=True)
class Image:
    """`url` is a `data:` URL, or an https address that the provider fetches itself."""

    url: str


@dataclass(frozen=True, slots=True)
class ToolCall:
    """`arguments` is the JSON text as the model wrote it, byte for byte.

    `choice` is the place of its answer, where several were asked for; `extra` what else its wire says of it.
    """

    id: str
    name: str
    arguments: str
    choice: int = 0
    extra: dict[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class ToolResult:
    call_id: str
    content: str


@dataclass(frozen=True, slots=True)
class Thought:
    """What a model has thought, as its provider wants it back in the next round of tools: sealed, and not for people.

    `maker` is the `provider/model` that made it, and the only one that it may go back to. `call_id` is the tool call
    that it belongs to; empty when it comes before all that the model said.
    """

    maker: str
    data: dict[str, Any]
    call_id: str = ""


Part: TypeAlias = Text | Image | ToolCall | ToolResult | Thought


@dataclass(frozen=True, slots=True)
class Message:
    role: Role
    parts: tuple[Part, ...]

    @property
    def text(self) -> str:
        """All text parts, joined by newlines."""
        return "\n".join(part.text for part in self.parts if isinstance(part, Text))


@dataclass(frozen=True, slots=True)
class Tool:
    """`parameters` is a JSON schema object."""

    name: str
    description: str
    parameters: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Thinking:
    """How much a model should think: a level, or a budget in tokens (0 none, -1 as it likes).

    While it is a caller's wish, `family` says in whose words it came (a provider; empty for nobody's), and
    `is_suffix` that it came with the model's name. `llm.thinking.fit` makes of it what a wire sends.
    """

    level: str | None = None
    budget_tokens: int | None = None
    family: str = ""
    is_suffix: bool = False


@dataclass(frozen=True, slots=True)
class Request:
    """One model call. `None` means "not given": the wire leaves the field out; an explicit 0 stays 0."""

    model: str
    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    tool_choice: str | dict[str, Any] | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    response_format: dict[str, Any] | None = None
    thinking: Thinking | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    # The caller speaks the chat wire: other answers and fields that no other wire knows are wanted too, as WireDeltas.
    is_chat: bool = False

    @property
    def answers(self) -> int:
        """How many answers are asked for."""
        wanted = self.extra.get("n")
        return wanted if isinstance(wanted, int) else 1


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds. Waiting for response headers counts as waiting for the first byte."""

    connect_s: float = 5.0
    first_byte_s: float = 60.0
    chunk_s: float = 30.0
    total_s: float = 600.0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where and as whom a wire calls. `secret` is never logged; `repr` leaves it out."""

    provider: str
    base_url: str
    secret: str = field(repr=False, default="")
    deadlines: Deadlines = Deadlines()
    # Told the headers of every answer.
    heard: Callable[[Mapping[str, str]], None] | None = field(repr=False, compare=False, default=None)
