"""`POST /api/agents/{id}/chat/`, whole and streamed, against a simulated provider over real sockets."""

from collections.abc import Callable

import httpx
import pytest

from agents.models import Agent, Message, Run, Session
from agents.services import set_status
from atom.ground.principal import Principal
from tests.events import bearer, sse_events, text_of
from tests.simulators.openai import OpenAISimulator

MakeAgent = Callable[..., Agent]
TokenOf = Callable[[Principal], str]


def test_an_answer_comes_with_everything_about_its_run(
    http: httpx.Client, make_agent: MakeAgent, openai_simulator: OpenAISimulator
) -> None:
    agent = make_agent()
    openai_simulator.will_say("Hello Alice")
    answer = http.post(f"/api/agents/{agent.id}/chat/", json={"message": "hi"})
    body = answer.json()
    assert answer.status_code == 200, body
    assert body["message"]["content"] == "Hello Alice"
    assert body["status"] == "succeeded"
    assert (body["provider"], body["model"], body["attempts"]) == ("openai", "gpt-4o-mini", 1)
    assert body["usage"]["output_tokens"] > 0
    run = Run.objects.get(pk=body["run_id"])
    assert run.session_id is not None
    assert str(run.session_id) == body["session_id"]
    assert str(run.messages.get(role="assistant").id) == body["message"]["id"]


def test_streaming_chat_sends_deltas_in_order_and_one_end(
    http: httpx.Client, make_agent: MakeAgent, openai_simulator: OpenAISimulator
) -> None:
    make_agent("helper")
    openai_simulator.will_say("one two three four")
    with http.stream("POST", "/api/agents/helper/chat/", json={"message": "count", "stream": True}) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/event-stream"
        assert answer.headers["x-accel-buffering"] == "no"
        events = list(sse_events(answer))
    assert text_of(events) == "one two three four"
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert [event["_id"] for event in events] == [str(event["seq"]) for event in events]
    assert [event["type"] for event in events].count("run_ended") == 1
    assert events[-1]["status"] == "succeeded"
    assert {event["run_id"] for event in events} == {answer.headers["x-atom-run"]}


def test_chat_streams_with_conversation_context(
    http: httpx.Client, make_agent: MakeAgent, openai_simulator: OpenAISimulator
) -> None:
    make_agent("helper", system_prompt="Be brief.")
    openai_simulator.will_say("I am Helper")
    first = http.post("/api/agents/helper/chat/", json={"message": "who are you?"}).json()
    openai_simulator.will_say("As I said")
    http.post("/api/agents/helper/chat/", json={"message": "again?", "session_id": first["session_id"]})
    sent = openai_simulator.requests[-1].json["messages"]
    assert [(message["role"], message["content"]) for message in sent] == [
        ("system", "Be brief."),
        ("user", "who are you?"),
        ("assistant", "I am Helper"),
        ("user", "again?"),
    ]


def test_a_session_is_titled_listed_and_previewed(
    http: httpx.Client, make_agent: MakeAgent, openai_simulator: OpenAISimulator
) -> None:
    make_agent("helper")
    openai_simulator.will_say("Fine")
    session_id = http.post("/api/agents/helper/chat/", json={"message": "how are you?"}).json()["session_id"]
    [session] = http.get("/api/sessions/").json()["results"]
    assert session["id"] == session_id
    assert (session["title"], session["preview"], session["message_count"]) == ("how are you?", "Fine", 2)
    messages = http.get(f"/api/sessions/{session_id}/messages/").json()["results"]
    assert [(message["role"], message["content"]) for message in messages] == [
        ("user", "how are you?"),
        ("assistant", "Fine"),
    ]


@pytest.mark.parametrize("body", [{"message": ""}, {"message": "  \n"}, {}, {"message": "x", "session_id": "no"}])
def test_an_empty_message_or_bad_field_is_a_400_in_our_shape(
    http: httpx.Client, make_agent: MakeAgent, body: dict[str, object]
) -> None:
    make_agent("helper")
    answer = http.post("/api/agents/helper/chat/", json=body)
    assert answer.status_code == 400
    assert set(answer.json()["error"]) == {"message", "type", "code", "param", "details"}
    assert Run.objects.count() == 0


def test_an_oversized_message_is_a_413(http: httpx.Client, make_agent: MakeAgent) -> None:
    make_agent("helper")
    assert http.post("/api/agents/helper/chat/", json={"message": "x" * 1_000_001}).status_code == 413


@pytest.mark.parametrize(
    "body",
    [b"{", b"\xff", b'{"message": "a\\u0000b"}', b'{"message": "\\ud800"}', b"[" * 2000, b"[1]", b"[" * 80 + b"]" * 80],
)
def test_malformed_json_is_a_400(http: httpx.Client, make_agent: MakeAgent, body: bytes) -> None:
    make_agent("helper")
    assert http.post("/api/agents/helper/chat/", content=body).status_code == 400


def test_an_unknown_agent_is_a_404(http: httpx.Client) -> None:
    assert http.post("/api/agents/nobody/chat/", json={"message": "hi"}).status_code == 404
    missing = "00000000-0000-4000-8000-000000000000"
    assert http.post(f"/api/agents/{missing}/chat/", json={"message": "hi"}).status_code == 404


def test_mallory_finds_no_agent_session_or_run_of_alice(
    http: httpx.Client, make_agent: MakeAgent, mallory: Principal, token_of: TokenOf, server: str
) -> None:
    agent = make_agent("helper")
    found = http.post("/api/agents/helper/chat/", json={"message": "hi"}).json()
    with httpx.Client(base_url=server, headers=bearer(token_of(mallory))) as hers:
        for path in (
            f"/api/agents/{agent.id}/",
            "/api/agents/helper/",
            f"/api/sessions/{found['session_id']}/messages/",
            f"/api/sessions/{found['session_id']}/",
            f"/api/runs/{found['run_id']}/",
            f"/api/runs/{found['run_id']}/events/",
        ):
            assert hers.get(path).status_code == 404, path
        assert hers.post(f"/api/agents/{agent.id}/chat/", json={"message": "hi"}).status_code == 404
        assert hers.post(f"/api/runs/{found['run_id']}/cancel/").status_code == 404
        for path in ("/api/sessions/", "/api/runs/", "/api/agents/"):
            assert hers.get(path).json()["results"] == []


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer sk-atom-nonsense"}, {"Authorization": "Basic eDp5"}])
def test_no_or_a_bad_token_is_the_same_401(server: str, headers: dict[str, str]) -> None:
    for path in ("/api/agents/x/chat/", "/v1/chat/completions"):
        answer = httpx.post(f"{server}{path}", json={"message": "hi"}, headers=headers)
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == "not_authenticated"
        assert answer.headers["www-authenticate"] == "Bearer"


def test_a_paused_agent_answers_409_and_a_resumed_one_answers(http: httpx.Client, make_agent: MakeAgent) -> None:
    make_agent("helper")
    assert http.post("/api/agents/helper/pause/", json={"reason": "tea"}).json()["status"] == "paused"
    refused = http.post("/api/agents/helper/chat/", json={"message": "hi"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "agent_paused")
    http.post("/api/agents/helper/resume/", json={})
    assert http.post("/api/agents/helper/chat/", json={"message": "hi"}).status_code == 200


def test_a_retired_agent_stays_retired(http: httpx.Client, make_agent: MakeAgent) -> None:
    agent = make_agent("helper")
    set_status(agent=agent, status="retired", reason="old", by="alice")
    assert http.post("/api/agents/helper/resume/", json={}).status_code == 409


def test_no_usable_provider_is_a_503_that_says_what_to_set(
    http: httpx.Client, make_agent: MakeAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    make_agent("helper")
    answer = http.post("/api/agents/helper/chat/", json={"message": "hi"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "no_provider")
    assert "OPENAI_API_KEY" in answer.json()["error"]["message"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_model_service_failure_is_a_502_that_names_the_provider(
    http: httpx.Client, make_agent: MakeAgent, openai_simulator: OpenAISimulator, stream: bool
) -> None:
    make_agent("helper")
    for _ in ("as a stream", "once more without"):
        openai_simulator.will_fail(500, body="upstream said: secret-of-theirs")
    answer = http.post("/api/agents/helper/chat/", json={"message": "hi", "stream": stream})
    assert answer.status_code == 502
    assert "openai" in answer.json()["error"]["message"].lower()
    assert "secret-of-theirs" not in answer.text
    assert Run.objects.get().status == "failed"


def test_an_error_while_streaming_keeps_what_was_said(
    http: httpx.Client, make_agent: MakeAgent, openai_simulator: OpenAISimulator
) -> None:
    make_agent("helper")
    openai_simulator.will_say("one two three four five six", cut_after=3)
    with http.stream("POST", "/api/agents/helper/chat/", json={"message": "go", "stream": True}) as answer:
        events = list(sse_events(answer))
    assert events[-1]["type"] == "run_ended"
    assert events[-1]["status"] == "failed"
    kept = Message.objects.get(role="assistant")
    assert not kept.is_complete
    assert kept.text == text_of(events) != ""


def test_a_second_turn_in_a_busy_session_is_a_409(
    http: httpx.Client, make_agent: MakeAgent, openai_simulator: OpenAISimulator
) -> None:
    make_agent("helper")
    openai_simulator.will_say("a b c d e f g h", delay_s=0.2)
    with http.stream("POST", "/api/agents/helper/chat/", json={"message": "go", "stream": True}):
        session = Session.objects.get()
        again = http.post("/api/agents/helper/chat/", json={"message": "too", "session_id": str(session.id)})
        assert (again.status_code, again.json()["error"]["code"]) == (409, "session_busy")
        run = Run.objects.get()
        assert http.post(f"/api/runs/{run.id}/cancel/").status_code == 202


def test_a_session_of_another_agent_is_a_404(http: httpx.Client, make_agent: MakeAgent) -> None:
    make_agent("helper")
    make_agent("other")
    session_id = http.post("/api/agents/helper/chat/", json={"message": "hi"}).json()["session_id"]
    answer = http.post("/api/agents/other/chat/", json={"message": "hi", "session_id": session_id})
    assert answer.status_code == 404


def test_context_and_an_image_reach_the_model(
    http: httpx.Client, make_agent: MakeAgent, openai_simulator: OpenAISimulator
) -> None:
    make_agent("helper")
    image = "data:image/png;base64,iVBORw0KGgo="
    body = {"message": "what is it?", "context": {"page": 7}, "attachments": [{"type": "image", "url": image}]}
    assert http.post("/api/agents/helper/chat/", json=body).status_code == 200
    [message] = openai_simulator.requests[-1].json["messages"]
    assert [part["type"] for part in message["content"]] == ["text", "text", "image_url"]
    assert '{"page":7}' in message["content"][0]["text"]
