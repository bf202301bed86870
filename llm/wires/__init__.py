"""The languages that providers speak. A wire is one async generator from a typed request to typed events.

Wires know no Django, no database and no routing: given an endpoint and a client, they talk.
"""

from collections.abc import AsyncGenerator
from typing import Protocol

from atom.ground.http import GuardedClient
from llm.events import Event, Meter
from llm.messages import Endpoint, Request
from llm.wires import anthropic_messages, emulated_tools, gemini, openai_chat, openai_responses


class Wire(Protocol):
    def __call__(
        self, request: Request, endpoint: Endpoint, client: GuardedClient, meter: Meter
    ) -> AsyncGenerator[Event, None]:
        """Deltas as they come, then exactly one `Finished`; any failure is raised as an LLMError.

        What the provider says of tokens goes to the meter at once, so that it is known of a broken answer too.
        """
        ...


WIRES: dict[str, Wire] = {
    "openai_chat": openai_chat.stream,
    "emulated_tools": emulated_tools.stream,
    "openai_responses": openai_responses.stream,
    "anthropic_messages": anthropic_messages.stream,
    "gemini": gemini.stream,
}
# The same call without streaming, with the same events, for when a stream will not come.
WHOLE: dict[str, Wire] = {
    "openai_chat": openai_chat.whole,
    "emulated_tools": emulated_tools.whole,
    "openai_responses": openai_responses.whole,
    "anthropic_messages": anthropic_messages.whole,
    "gemini": gemini.whole,
}
