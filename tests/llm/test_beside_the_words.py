"""Fields that no other wire knows: callers of the chat wire are told of them, whoever else asks is not."""

import json
from dataclasses import replace

import pytest

from llm.events import Finished, TextDelta, WireDelta
from tests.llm.conftest import EventsOf, asking
from tests.llm.test_openai_chat import DONE, STOP, chunk
from tests.simulators.openai import OpenAISimulator


def beside(word: str, **more: object) -> bytes:
    """A chunk with fields beside its delta."""
    body = {"choices": [{"index": 0, "delta": {"content": word}, "finish_reason": None, **more}]}
    return f"data: {json.dumps(body)}\n\n".encode()


LOGPROBS = {"content": [{"token": "one", "logprob": -0.5}]}


@pytest.mark.parametrize(
    ("sent", "more"),
    [
        pytest.param(
            [chunk({"content": "one"}, "stop", fingerprint="fp")], {"around": {"fingerprint": "fp"}}, id="around"
        ),
        pytest.param([chunk({"content": "one", "mood": "glad"}, "stop")], {"within": {"mood": "glad"}}, id="within"),
        pytest.param([beside("one", mood="glad"), STOP], {"beside": {"mood": "glad"}}, id="beside"),
        pytest.param([beside("one", logprobs=LOGPROBS), STOP], {"beside": {"logprobs": LOGPROBS}}, id="logprobs"),
        pytest.param([beside("one", logprobs=None), STOP], None, id="nothing"),
    ],
)
async def test_callers_of_this_wire_are_told_what_stands_beside_the_words(
    events_of: EventsOf, openai_simulator: OpenAISimulator, sent: list[bytes], more: dict[str, object] | None
) -> None:
    openai_simulator.will_send(*sent, DONE)
    *events, last = await events_of(replace(asking(), is_chat=True))
    assert isinstance(last, Finished)
    assert events == [TextDelta("one"), *([WireDelta(0, **more)] if more else [])]  # type: ignore[arg-type]
    openai_simulator.will_send(*sent, DONE)
    assert (await events_of())[:-1] == [TextDelta("one")]
