"""An upstream that is cut off in the middle of its answer: no official client takes what came for the whole."""

from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import openai
import pytest
import redis

from atom.ground.principal import Principal
from tests.simulators.openai import OpenAISimulator

MODEL = "openai/gpt-4o-mini"
WORDS = [f"w{number}" for number in range(40)]
ANSWER = " ".join(WORDS)
USER: Any = [{"role": "user", "content": "hi"}]
# Texts as the client reads them; raises what the client raises.
Said = Callable[[], Iterator[str]]


@pytest.fixture
def readers(server: str, alice: Principal, token_of: Callable[[Principal], str]) -> Iterator[dict[str, Said]]:
    token = token_of(alice)
    theirs = openai.OpenAI(base_url=f"{server}/v1", api_key=token, max_retries=0, timeout=30)
    other = anthropic.Anthropic(base_url=server, api_key=token, max_retries=0, timeout=30)

    def chat_completions() -> Iterator[str]:
        for chunk in theirs.chat.completions.create(model=MODEL, messages=USER, stream=True):
            yield chunk.choices[0].delta.content or ""

    def responses() -> Iterator[str]:
        for event in theirs.responses.create(model=MODEL, input="hi", stream=True):
            if event.type == "response.output_text.delta":
                yield event.delta

    def messages() -> Iterator[str]:
        with other.messages.stream(model=MODEL, max_tokens=99, messages=USER) as stream:
            yield from stream.text_stream

    with theirs, other:
        yield {"chat completions": chat_completions, "responses": responses, "messages": messages}


def read(said: Said) -> tuple[str, bool]:
    """What the client was told, and whether it raised."""
    text = ""
    try:
        for piece in said():
            text += piece
    except (openai.APIError, anthropic.APIError):
        return text, True
    return text, False


@pytest.mark.parametrize("surface", ["chat completions", "responses", "messages"])
def test_a_truncated_upstream_raises_in_the_official_client_at_every_one_of_40_cut_points(
    readers: dict[str, Said], store: redis.Redis, openai_simulator: OpenAISimulator, surface: str
) -> None:
    seen = {}
    for cut in range(1, len(WORDS) + 1):
        # So many failures in a row would open the breaker, and nobody would be asked any more.
        store.flushall()
        openai_simulator.will_say(ANSWER, cut_after=cut)
        seen[cut] = read(readers[surface])
    assert seen == {cut: (" ".join(WORDS[:cut]), True) for cut in seen}
    assert len(openai_simulator.requests) == len(WORDS)


@pytest.mark.parametrize("surface", ["chat completions", "responses", "messages"])
def test_a_whole_answer_raises_in_none_of_them(
    readers: dict[str, Said], openai_simulator: OpenAISimulator, surface: str
) -> None:
    openai_simulator.will_say(ANSWER)
    assert read(readers[surface]) == (ANSWER, False)


@pytest.mark.parametrize("surface", ["chat completions", "responses", "messages"])
def test_an_upstream_that_is_cut_before_its_first_word_is_asked_again(
    readers: dict[str, Said], openai_simulator: OpenAISimulator, surface: str
) -> None:
    openai_simulator.will_say(ANSWER, cut_after=0)
    openai_simulator.will_say(ANSWER)
    assert read(readers[surface]) == (ANSWER, False)
