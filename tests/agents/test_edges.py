"""The edges of what may be asked, through the door with the official client."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest

from atom.ground.principal import Principal
from tests.simulators.openai import OpenAISimulator

MODEL = "openai/gpt-4o-mini"
SPECIAL = (
    'quotes " \' \\ back\tslash, "data: [DONE]"\n\ndata: {}\r\n{{braces}} <b>&amp;</b> %s ${x} '
    "\u202ertl\u202c 日本語 🙈 é e\u0301 \u2028"
)


@pytest.fixture
def client(server: str, alice: Principal, token_of: Callable[[Principal], str]) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server}/v1", api_key=token_of(alice), max_retries=0, timeout=30) as made:
        yield made


def user(text: str) -> Any:
    return [{"role": "user", "content": text}]


def streamed(client: openai.OpenAI, text: str, **given: Any) -> str:
    chunks = client.chat.completions.create(model=MODEL, messages=user(text), stream=True, **given)
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


@pytest.mark.parametrize("stop", ["END", ["END", "\n\n"]], ids=["one", "two"])
def test_stop_sequences_reach_the_provider(
    client: openai.OpenAI, openai_simulator: OpenAISimulator, stop: str | list[str]
) -> None:
    streamed(client, "hi", stop=stop)
    sent = openai_simulator.requests[-1].json["stop"]
    assert (sent if isinstance(sent, list) else [sent]) == (stop if isinstance(stop, list) else [stop])


def test_special_characters_go_there_and_come_back_as_they_are(
    client: openai.OpenAI, openai_simulator: OpenAISimulator
) -> None:
    assert streamed(client, SPECIAL) == f"You said: {SPECIAL}"
    assert openai_simulator.requests[-1].json["messages"][-1]["content"] == SPECIAL


def test_a_very_long_context_goes_out_whole(client: openai.OpenAI, openai_simulator: OpenAISimulator) -> None:
    turns = [{"role": role, "content": f"{n} " + "word " * 400} for n in range(60) for role in ("user", "assistant")]
    messages: Any = [*turns, *user("and now?")]
    openai_simulator.will_say("fine")
    client.chat.completions.create(model=MODEL, messages=messages)
    assert openai_simulator.requests[-1].json["messages"] == messages


@pytest.mark.parametrize("stream", [False, True])
def test_an_empty_messages_list_is_a_400_and_nobody_is_asked(
    client: openai.OpenAI, openai_simulator: OpenAISimulator, stream: bool
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=MODEL, messages=[], stream=stream)
    assert caught.value.code == "missing_user_message"
    assert openai_simulator.requests == []


@pytest.mark.parametrize("model", ["noprovider/gpt-4o-mini", "agent/nobody", "auto:surely-not", "no-such-model"])
def test_an_unknown_provider_model_or_agent_is_a_404_and_nobody_is_asked(
    client: openai.OpenAI, openai_simulator: OpenAISimulator, model: str
) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model=model, messages=user("hi"), stream=True)
    assert caught.value.code == "model_not_found"
    assert openai_simulator.requests == []


async def test_concurrent_requests_whole_and_streamed_each_get_their_own_answer(client: openai.OpenAI) -> None:
    def whole(text: str) -> str:
        answer = client.chat.completions.create(model=MODEL, messages=user(text))
        return answer.choices[0].message.content or ""

    texts = [f"question {number}" for number in range(30)]
    asking = [
        asyncio.to_thread(whole, text) if number % 2 else asyncio.to_thread(streamed, client, text)
        for number, text in enumerate(texts)
    ]
    assert await asyncio.gather(*asking) == [f"You said: {text}" for text in texts]
