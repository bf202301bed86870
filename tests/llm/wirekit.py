"""Each wire with its simulator and its own words, so that one list of cases can be run over all of them."""

from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from atom.ground.http import GuardedClient
from llm.events import Event, Meter
from llm.messages import Deadlines, Endpoint, Request
from llm.wires import WHOLE, WIRES
from tests.llm.conftest import SECRET, asking
from tests.llm.judges import judge_anthropic, judge_chat, judge_gemini, judge_responses
from tests.simulators.anthropic import AnthropicSimulator
from tests.simulators.gemini import GeminiSimulator
from tests.simulators.openai import OpenAISimulator
from tests.simulators.responses import ResponsesSimulator
from tests.simulators.server import Simulator

Counts = Callable[[int, int, int, int], dict[str, Any]]


@dataclass(frozen=True)
class Kit:
    """`usage(sent, said, cached, thought)` is the wire's own object for Atom's `Usage` of the same numbers."""

    wire: str
    simulator: type[Simulator]
    key_header: str
    key_prefix: str
    usage: Counts
    too_long: str
    # What an error event says for "too many calls" and for "it broke".
    limited: str
    broken: str
    # A provider and a model whose thoughts have to come back with the calls they led to.
    thinker: tuple[str, str]
    # Raises when the official client would not send such a body.
    judge: Callable[[dict[str, Any]], None]
    has_seed: bool = False


def chat_usage(sent: int, said: int, cached: int, thought: int) -> dict[str, Any]:
    return {
        "prompt_tokens": sent,
        "completion_tokens": said,
        "prompt_tokens_details": {"cached_tokens": cached},
        "completion_tokens_details": {"reasoning_tokens": thought},
    }


def responses_usage(sent: int, said: int, cached: int, thought: int) -> dict[str, Any]:
    return {
        "input_tokens": sent,
        "output_tokens": said,
        "total_tokens": sent + said,
        "input_tokens_details": {"cached_tokens": cached},
        "output_tokens_details": {"reasoning_tokens": thought},
    }


def anthropic_usage(sent: int, said: int, cached: int, thought: int) -> dict[str, Any]:
    return {
        "input_tokens": sent - cached,
        "output_tokens": said,
        "cache_read_input_tokens": cached,
        "cache_creation_input_tokens": 0,
        "output_tokens_details": {"thinking_tokens": thought},
    }


def gemini_usage(sent: int, said: int, cached: int, thought: int) -> dict[str, Any]:
    return {
        "promptTokenCount": sent,
        "candidatesTokenCount": said - thought,
        "cachedContentTokenCount": cached,
        "thoughtsTokenCount": thought,
    }


KITS = (
    Kit(
        "openai_chat",
        OpenAISimulator,
        "authorization",
        "Bearer ",
        chat_usage,
        too_long="length",
        limited="rate_limit_exceeded",
        broken="server_error",
        thinker=("deepseek", "deepseek-v4-pro"),
        judge=judge_chat,
        has_seed=True,
    ),
    Kit(
        "openai_responses",
        ResponsesSimulator,
        "authorization",
        "Bearer ",
        responses_usage,
        too_long="max_output_tokens",
        limited="rate_limit_exceeded",
        broken="server_error",
        thinker=("openai", "gpt-5-codex"),
        judge=judge_responses,
    ),
    Kit(
        "anthropic_messages",
        AnthropicSimulator,
        "x-api-key",
        "",
        anthropic_usage,
        too_long="max_tokens",
        limited="rate_limit_error",
        broken="overloaded_error",
        thinker=("anthropic", "claude-sonnet-4-5"),
        judge=judge_anthropic,
    ),
    Kit(
        "gemini",
        GeminiSimulator,
        "x-goog-api-key",
        "",
        gemini_usage,
        too_long="MAX_TOKENS",
        limited="429",
        broken="503",
        thinker=("gemini", "gemini-3-pro-preview"),
        judge=judge_gemini,
        has_seed=True,
    ),
)


class Talk:
    """A wire that talks to its own running simulator."""

    def __init__(self, kit: Kit, simulator: Simulator, client: GuardedClient) -> None:
        self.kit = kit
        self.simulator = simulator
        self.client = client

    def endpoint(self, *, base_url: str | None = None, **seconds: float) -> Endpoint:
        limits = Deadlines(**{"connect_s": 2, "first_byte_s": 5, "chunk_s": 5, "total_s": 20, **seconds})
        address = self.simulator.base_url if base_url is None else base_url
        return Endpoint(provider="somebody", base_url=address, secret=SECRET, deadlines=limits)

    async def events(
        self,
        request: Request | None = None,
        *,
        at: Endpoint | None = None,
        seen: list[Event] | None = None,
        streamed: bool = True,
        meter: Meter | None = None,
    ) -> list[Event]:
        """All events of one call; `seen` and `meter`, if given, have what came even when the call fails."""
        seen = [] if seen is None else seen
        meter = meter or Meter()
        wire = (WIRES if streamed else WHOLE)[self.kit.wire]
        async with aclosing(wire(request or asking(), at or self.endpoint(), self.client, meter)) as answer:
            async for event in answer:
                seen.append(event)
        return seen

    @property
    def sent(self) -> Any:
        """The body of the last request."""
        return self.simulator.requests[-1].json
