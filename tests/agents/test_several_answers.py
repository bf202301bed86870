"""Several answers, logprobs and unknown fields of the chat wire pass through, around the tool calls that are judged."""

import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import httpx
import openai
import orjson
import pytest

from agents.models import Agent, Message
from atom.ground.principal import Principal
from governance.models import Decision
from llm.messages import Message as ModelMessage
from llm.messages import Request, Text
from llm.spending import estimate_usd
from tests.simulators.openai import OpenAISimulator
from tests.simulators.scripts import Script

pytestmark = pytest.mark.django_db(transaction=True)
MakeAgent = Callable[..., Agent]
ASK: Any = [{"role": "user", "content": "hi"}]
TOOLS: Any = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}}}
    for name in ("read", "delete")
]
# With a space and an escape that no writer of JSON would make: what is released must not be written anew.
ALLOWED, DENIED = '{ "a":"\\u0041", "n": 1.0}', '{"secret": 987654}'


def logprobs(*tokens: str) -> dict[str, Any]:
    return {"content": [{"token": one, "logprob": -0.5, "bytes": None, "top_logprobs": []} for one in tokens]}


def piece(place: int, call: int, name: str, arguments: str, **more: Any) -> dict[str, Any]:
    first = {"id": f"call_{call}", "type": "function"} if name else {}
    function = {"arguments": arguments, **({"name": name} if name else {})}
    return {"index": place, "delta": {"tool_calls": [{"index": call, **first, "function": function, **more}]}}


def ended(place: int, reason: str) -> dict[str, Any]:
    return {"index": place, "delta": {}, "finish_reason": reason}


# Two answers in turns: text with chances, thoughts, a field nobody knows; then three calls, pieces among each other.
CHOICES: list[dict[str, Any]] = [
    {"index": 0, "delta": {"role": "assistant", "content": ""}, "logprobs": None},
    {"index": 1, "delta": {"role": "assistant", "content": ""}, "logprobs": None},
    {"index": 0, "delta": {"content": "One"}, "logprobs": logprobs("One")},
    {"index": 1, "delta": {"content": "An"}, "logprobs": logprobs("An")},
    {"index": 1, "delta": {"reasoning_content": "hmm"}},
    {
        "index": 0,
        "delta": {"content": " two", "annotations": [{"kind": "x"}]},
        "native": "y",
        "logprobs": logprobs(" two"),
    },
    {"index": 1, "delta": {"content": "other"}, "logprobs": logprobs("other")},
    {"index": 0, "delta": {"function_call": {"name": "delete", "arguments": DENIED}}},
    piece(0, 0, "read", ALLOWED[:5], extra_content={"sign": "s"}),
    piece(1, 0, "delete", DENIED[:4]),
    piece(0, 1, "delete", DENIED[:9]),
    piece(0, 0, "", ALLOWED[5:]),
    {**piece(1, 0, "", DENIED[4:]), "logprobs": logprobs(DENIED)},
    piece(0, 1, "", DENIED[9:]),
    ended(0, "tool_calls"),
    ended(1, "tool_calls"),
]


def sent(choices: list[dict[str, Any]]) -> Script:
    base = {"id": "up", "object": "chat.completion.chunk", "created": 1, "model": "m", "system_fingerprint": "fp_1"}
    chunks = [{**base, "choices": [{"finish_reason": None, **one}]} for one in choices]
    usage = {**base, "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 9, "total_tokens": 12}}
    raw = [b"data: %s\n\n" % orjson.dumps(one) for one in [*chunks, usage]] + [b"data: [DONE]\n\n"]
    return Script(raw=raw, content_type="text/event-stream")


def whole(found: list[dict[str, Any]]) -> Script:
    body = {"id": "up", "object": "chat.completion", "created": 1, "model": "m", "system_fingerprint": "fp_1"}
    return Script(body=json.dumps({**body, "choices": found, "usage": {"prompt_tokens": 3, "completion_tokens": 9}}))


@pytest.fixture
def client(server: str, carol: Principal, token_of: Callable[[Principal], str]) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server}/v1", api_key=token_of(carol), max_retries=0, timeout=30) as official:
        yield official


@pytest.fixture
def student(make_agent: MakeAgent) -> Agent:
    return make_agent("student", maturity="student")


def asked_for_two(client: openai.OpenAI, **given: Any) -> list[Any]:
    """The stream's chunks, each as the client read it."""
    with client.chat.completions.create(
        model="agent/student", messages=ASK, tools=TOOLS, n=2, logprobs=True, stream=True, **given
    ) as stream:
        return list(stream)


def test_each_answer_arrives_under_its_own_index(
    client: openai.OpenAI, student: Agent, openai_simulator: OpenAISimulator
) -> None:
    openai_simulator.will(sent(CHOICES))
    chunks = asked_for_two(client)
    choices = [choice for chunk in chunks for choice in chunk.choices]
    text = {place: "".join(one.delta.content or "" for one in choices if one.index == place) for place in (0, 1)}
    assert text[0].startswith("One two")
    assert text[1].startswith("Another")
    thoughts = [(one.index, one.delta.reasoning_content) for one in choices if hasattr(one.delta, "reasoning_content")]
    assert thoughts == [(1, "hmm")]
    chances = [(one.index, [t.token for t in one.logprobs.content]) for one in choices if one.logprobs]
    assert chances == [(0, ["One"]), (1, ["An"]), (0, [" two"]), (1, ["other"])]
    assert [one.delta.annotations for one in choices if hasattr(one.delta, "annotations")] == [[{"kind": "x"}]]
    assert [one.native for one in choices if hasattr(one, "native")] == ["y"]
    assert "fp_1" in {chunk.system_fingerprint for chunk in chunks}
    assert openai_simulator.requests[-1].json["n"] == 2


def test_calls_are_judged_by_themselves_and_released_byte_for_byte(
    client: openai.OpenAI, student: Agent, openai_simulator: OpenAISimulator
) -> None:
    openai_simulator.will(sent(CHOICES))
    chunks = asked_for_two(client)
    choices = [choice for chunk in chunks for choice in chunk.choices]
    calls = [(one.index, call) for one in choices for call in one.delta.tool_calls or []]
    assert [(place, call.index, call.id, call.function.name) for place, call in calls] == [(0, 0, "call_0", "read")]
    assert calls[0][1].function.arguments == ALLOWED
    assert calls[0][1].extra_content == {"sign": "s"}
    # Not a byte of what was denied, under whatever name it came.
    assert "987654" not in "".join(chunk.model_dump_json() for chunk in chunks)
    refused = [(one.index, one.delta.content) for one in choices if "was refused" in (one.delta.content or "")]
    assert [place for place, _ in refused] == [0, 1]
    ends = {one.index: one.finish_reason for one in choices if one.finish_reason}
    assert ends == {0: "tool_calls", 1: "stop"}
    assert sorted(Decision.objects.exclude(tool="").values_list("tool", "decision")) == [
        ("delete", "deny"),
        ("delete", "deny"),
        ("read", "allow"),
    ]


def test_a_whole_answer_has_all_its_choices_too(
    client: openai.OpenAI, student: Agent, openai_simulator: OpenAISimulator
) -> None:
    openai_simulator.will(sent([*CHOICES[:7], ended(0, "stop"), ended(1, "length")]))
    answer = client.chat.completions.create(model="agent/student", messages=ASK, n=2, logprobs=True)
    first, second = answer.choices
    assert (first.message.content, first.finish_reason) == ("One two", "stop")
    assert (second.message.content, second.finish_reason) == ("Another", "length")
    assert first.logprobs is not None
    assert [one.token for one in first.logprobs.content or []] == ["One", " two"]
    assert answer.system_fingerprint == "fp_1"


def test_an_upstream_that_does_not_stream_gives_all_its_choices(
    client: openai.OpenAI, student: Agent, openai_simulator: OpenAISimulator
) -> None:
    openai_simulator.will(Script(raw=[b"data: {\n\n"], content_type="text/event-stream"))
    said = [
        {"index": place, "message": {"role": "assistant", "content": text}, "logprobs": logprobs(text)}
        for place, text in enumerate(["one", "two"])
    ]
    openai_simulator.will(whole([{**one, "finish_reason": "stop"} for one in said]))
    answer = client.chat.completions.create(model="agent/student", messages=ASK, n=2, logprobs=True)
    assert [choice.message.content for choice in answer.choices] == ["one", "two"]
    assert all(choice.logprobs for choice in answer.choices)


def test_who_asks_for_one_answer_is_told_one_and_it_is_kept(
    client: openai.OpenAI, student: Agent, openai_simulator: OpenAISimulator
) -> None:
    openai_simulator.will(sent([*CHOICES[:7], ended(0, "stop"), ended(1, "stop")]))
    asked_for_two(client)
    assert Message.objects.get(role="assistant").text == "One two"


@pytest.mark.parametrize("n", [0, 17, "many", [2]], ids=str)
def test_n_beyond_its_bounds_is_a_400_of_the_field(http: httpx.Client, n: Any) -> None:
    refused = http.post("/v1/chat/completions", json={"model": "openai/gpt-4o-mini", "messages": ASK, "n": n})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "n")


def test_an_agent_that_runs_tools_gives_one_answer(
    http: httpx.Client, make_agent: MakeAgent, openai_simulator: OpenAISimulator
) -> None:
    url = f"{openai_simulator.root_url}/tool"
    make_agent("worker", tools=[{"name": "t", "action": "read", "kind": "http", "url": url, "method": "POST"}])
    refused = http.post("/v1/chat/completions", json={"model": "agent/worker", "messages": ASK, "n": 2})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "n")
    assert openai_simulator.requests == []


def test_money_is_set_aside_for_each_answer(student: Agent) -> None:
    one = Request("m", (ModelMessage("user", (Text("hi"),)),), max_tokens=1000)
    four = Request(one.model, one.messages, max_tokens=1000, extra={"n": 4})
    costs = [estimate_usd("openai", "gpt-4o-mini", each, workspace_id=student.workspace_id) for each in (one, four)]
    assert costs[0] is not None
    assert costs[1] is not None
    assert costs[1] - costs[0] == 3 * Decimal("0.0006")
