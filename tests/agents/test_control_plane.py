"""The control plane: real runs behind `/message`, `/status`, `/events` and `/agent/…`."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from agents.models import Agent, Message, QueuedTurn, Run
from agents.tasks import start_stranded_turns
from atom.ground.models import IdempotencyKey
from atom.ground.principal import Principal
from governance.models import Approval
from tests.events import bearer, sse_events
from tests.simulators.openai import OpenAISimulator

MakeAgent = Callable[..., Agent]
NOWHERE = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
def helper(make_agent: MakeAgent) -> Agent:
    return make_agent("helper", models=["openai/gpt-4o-mini"])


def say(http: httpx.Client, content: str = "Hello", **given: Any) -> httpx.Response:
    key = given.pop("key", None)
    headers = {"Idempotency-Key": key} if key else {}
    body = {"content": content, "agent": "helper", **given}
    return http.post("/message", json={name: value for name, value in body.items() if value != ""}, headers=headers)


def settled(http: httpx.Client, session_id: str, *wanted: str) -> Any:
    deadline = time.monotonic() + 30
    while (found := http.get("/status", params={"session_id": session_id}).json())["status"] not in wanted:
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    return found


def told(http: httpx.Client, session_id: str, **given: Any) -> list[str]:
    found = http.get("/messages", params={"session_id": session_id, **given}).json()
    return [message["content"] for message in found["messages"]]


def named_events(response: httpx.Response) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Name, id and data of each event."""
    name = place = ""
    for line in response.iter_lines():
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("id: "):
            place = line.removeprefix("id: ")
        elif line.startswith("data: "):
            yield name, place, httpx.Response(200, content=line.removeprefix("data: ")).json()


def events_until(
    http: httpx.Client, session_id: str, is_last: Callable[[str, dict[str, Any]], bool], after: str = ""
) -> list[tuple[str, str, dict[str, Any]]]:
    found = []
    headers = {"Last-Event-ID": after} if after else {}
    with http.stream("GET", "/events", params={"session_id": session_id}, headers=headers) as response:
        assert response.status_code == 200
        for event in named_events(response):
            found.append(event)
            if is_last(event[0], event[2]):
                return found
    raise AssertionError("the stream ended")


def is_stable(name: str, data: dict[str, Any]) -> bool:
    return name == "status_change" and data["status"] == "stable"


def test_a_message_starts_a_real_run(http: httpx.Client, helper: Agent) -> None:
    answer = say(http)
    found = answer.json()
    assert answer.status_code == 202
    assert (found["status"], found["capability"], found["message_count"]) == ("running", "", 1)
    assert found["events_url"] == f"/events?session_id={found['session_id']}"
    status = settled(http, found["session_id"], "stable")
    assert (status["agent"], status["message_count"]) == ("helper", 2)
    shown = http.get("/messages", params={"session_id": found["session_id"]}).json()["messages"]
    assert [(one["role"], one["content"]) for one in shown] == [("user", "Hello"), ("assistant", "You said: Hello")]
    assert shown[0]["id"] == found["message_id"]
    assert Run.objects.get().status == "succeeded"


def test_the_word_message_does_too(http: httpx.Client, helper: Agent) -> None:
    assert http.post("/message", json={"message": "Hi", "agent": "helper"}).status_code == 202


def test_without_an_agent_the_workspaces_own_answers(http: httpx.Client, openai_simulator: OpenAISimulator) -> None:
    found = http.post("/message", json={"content": "Hi"}).json()
    assert settled(http, found["session_id"], "stable", "interrupted")["agent"] == "direct"


def test_the_agent_knows_what_was_said_before(
    http: httpx.Client, helper: Agent, openai_simulator: OpenAISimulator
) -> None:
    session_id = say(http).json()["session_id"]
    settled(http, session_id, "stable")
    say(http, "And now?", session_id=session_id)
    settled(http, session_id, "stable")
    said = [message["content"] for message in openai_simulator.requests[-1].json["messages"]]
    assert said[-3:] == ["Hello", "You said: Hello", "And now?"]


@pytest.mark.parametrize(
    ("label", "means"),
    [("ask", "continue"), (" EXEC ", "continue"), ("Max", "continue"), ("continue", "continue"), (" ", "")],
    ids=["ask", "exec", "max", "continue", "blank"],
)
def test_a_label_says_how_to_go_on(http: httpx.Client, helper: Agent, label: str, means: str) -> None:
    found = say(http, capability=label).json()
    assert found["capability"] == means
    settled(http, found["session_id"], "stable")
    shown = http.get("/messages", params={"session_id": found["session_id"]}).json()["messages"]
    assert [message.get("capability", "") for message in shown] == [means, ""]


def test_another_label_is_not_supported(http: httpx.Client, helper: Agent) -> None:
    answer = say(http, capability="fly")
    assert (answer.status_code, answer.json()["error"]["code"]) == (501, "unsupported_capability")
    assert answer.json()["error"]["details"]["capabilities"] == ["ask", "exec", "max", "continue", "resume"]
    assert Run.objects.count() == 0


def test_neither_message_nor_capability_is_refused(http: httpx.Client, helper: Agent) -> None:
    assert say(http, " ").status_code == 400
    assert http.post("/message", json={"capability": " "}).status_code == 400


def test_continue_goes_on_without_a_new_message(
    http: httpx.Client, helper: Agent, openai_simulator: OpenAISimulator
) -> None:
    first = say(http).json()
    settled(http, first["session_id"], "stable")
    second = say(http, "", session_id=first["session_id"], capability="continue").json()
    assert (second["message_id"], second["message_count"]) == (first["message_id"], 2)
    settled(http, first["session_id"], "stable")
    assert [one["role"] for one in openai_simulator.requests[-1].json["messages"][-3:]] == ["user", "assistant", "user"]
    assert len(told(http, first["session_id"])) == 3


def test_resume_goes_on_with_an_interrupted_run_only(
    http: httpx.Client, helper: Agent, openai_simulator: OpenAISimulator
) -> None:
    first = say(http).json()
    settled(http, first["session_id"], "stable")
    body = {"session_id": first["session_id"], "capability": "resume"}
    assert say(http, "", **body).status_code == 409
    Run.objects.update(status="interrupted")
    assert settled(http, first["session_id"], "interrupted")
    assert say(http, "", **body).json()["capability"] == "resume"
    settled(http, first["session_id"], "stable")
    assert Run.objects.count() == 2


def test_a_busy_session_is_409(http: httpx.Client, helper: Agent, openai_simulator: OpenAISimulator) -> None:
    openai_simulator.will_say("one two three", delay_s=0.3)
    session_id = say(http).json()["session_id"]
    answer = say(http, "More", session_id=session_id)
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "session_busy")
    settled(http, session_id, "stable")
    assert told(http, session_id) == ["Hello", "one two three"]


def test_a_queued_message_has_its_turn_after_the_answer(
    http: httpx.Client, helper: Agent, openai_simulator: OpenAISimulator
) -> None:
    openai_simulator.will_say("one two three", delay_s=0.3)
    session_id = say(http).json()["session_id"]
    queued = say(http, "More", session_id=session_id, queue=True, key="q1")
    assert queued.status_code == 202
    assert say(http, "More", session_id=session_id, queue=True, key="q1").content == queued.content
    say(http, "Last", session_id=session_id, queue=True)
    settled(http, session_id, "stable")
    assert told(http, session_id) == ["Hello", "one two three", "More", "You said: More", "Last", "You said: Last"]
    assert (
        str(Message.objects.get(role="user", run__isnull=False, parts__0__text="More").pk)
        == (queued.json()["message_id"])
    )


def test_a_queued_message_outlives_its_process(http: httpx.Client, helper: Agent, alice: Principal) -> None:
    found = say(http).json()
    settled(http, found["session_id"], "stable")
    token = Run.objects.get().token
    assert token is not None
    token = Run.objects.get().token
    assert token is not None
    parts = [{"type": "text", "text": "Later"}]
    QueuedTurn.objects.create(session_id=found["session_id"], token=token, door="control", parts=parts)
    assert settled(http, found["session_id"], "running")
    assert start_stranded_turns() == 1
    assert told(http, found["session_id"])[-2:] == ["Later", "You said: Later"]


def test_a_worker_works_through_the_whole_queue(http: httpx.Client, helper: Agent) -> None:
    session_id = say(http).json()["session_id"]
    settled(http, session_id, "stable")
    token = Run.objects.get().token
    assert token is not None
    for text in ("Second", "Third"):
        parts = [{"type": "text", "text": text}]
        QueuedTurn.objects.create(session_id=session_id, token=token, door="control", parts=parts)
    assert start_stranded_turns() == 1
    assert told(http, session_id)[-4:] == ["Second", "You said: Second", "Third", "You said: Third"]
    assert set(Run.objects.values_list("status", flat=True)) == {"succeeded"}


def test_a_repeated_key_appends_nothing(http: httpx.Client, helper: Agent) -> None:
    first = say(http, key="k1")
    settled(http, first.json()["session_id"], "stable")
    assert say(http, key="k1").content == first.content
    IdempotencyKey.objects.update(status=None, body=None)
    again = say(http, key="k1").json()
    assert (again["message_id"], again["session_id"]) == (first.json()["message_id"], first.json()["session_id"])
    assert (Run.objects.count(), Message.objects.filter(role="user").count()) == (1, 1)


def test_other_keys_append(http: httpx.Client, helper: Agent) -> None:
    session_id = say(http, key="k1").json()["session_id"]
    settled(http, session_id, "stable")
    say(http, key="k2", session_id=session_id)
    settled(http, session_id, "stable")
    assert told(http, session_id) == ["Hello", "You said: Hello"] * 2


def test_the_run_knows_its_key_its_session_and_its_token(http: httpx.Client, helper: Agent, alice: Principal) -> None:
    found = say(http, key="k1").json()
    run = Run.objects.get()
    assert IdempotencyKey.objects.get().bound_to == run.pk
    assert str(run.session_id) == found["session_id"]
    assert (run.user_id, run.token is not None, run.door) == (alice.user_id, True, "control")


def test_messages_are_paged_by_a_messages_id(http: httpx.Client, helper: Agent) -> None:
    session_id = say(http).json()["session_id"]
    settled(http, session_id, "stable")
    page = http.get("/messages", params={"session_id": session_id, "limit": 1}).json()
    assert (page["has_more"], len(page["messages"])) == (True, 1)
    rest = http.get("/messages", params={"session_id": session_id, "after": page["messages"][0]["id"]}).json()
    assert ([one["role"] for one in rest["messages"]], rest["has_more"]) == (["assistant"], False)
    assert http.get("/messages", params={"session_id": session_id, "after": NOWHERE}).status_code == 404
    assert http.get("/messages", params={"session_id": session_id, "limit": "0"}).status_code == 400


def test_events_tell_how_it_stands_and_then_what_happens(
    http: httpx.Client, helper: Agent, openai_simulator: OpenAISimulator
) -> None:
    openai_simulator.will_say("one two three", delay_s=0.2)
    session_id = say(http).json()["session_id"]
    found = events_until(http, session_id, is_stable)
    said = [(data["role"], data["message"]) for name, _, data in found if name == "message_update"]
    assert said == [("user", "Hello"), ("assistant", "one two three")]
    assert [data["status"] for name, _, data in found if name == "status_change"] == ["running", "stable"]
    assert [name for name, _, _ in found][:2] == ["message_update", "status_change"]


def test_events_go_on_after_the_last_that_was_seen(http: httpx.Client, helper: Agent) -> None:
    session_id = say(http).json()["session_id"]
    settled(http, session_id, "stable")
    seen = events_until(http, session_id, is_stable)
    rest = events_until(http, session_id, is_stable, after=seen[0][1])
    assert [data["role"] for name, _, data in rest if name == "message_update"] == ["assistant"]
    params = {"session_id": session_id}
    assert http.get("/events", params=params, headers={"Last-Event-ID": NOWHERE}).status_code == 404


def test_events_tell_of_failures(http: httpx.Client, helper: Agent, openai_simulator: OpenAISimulator) -> None:
    openai_simulator.will_say("one two three four", delay_s=0.3)
    session_id = say(http).json()["session_id"]
    stream = http.stream("GET", "/events", params={"session_id": session_id})
    with stream as response:
        for name, _, data in named_events(response):
            if name == "status_change" and data["status"] == "running":
                assert http.post(f"/agent/{session_id}/stop").status_code == 202
            if name == "agent_error":
                assert (data["level"], "time" in data) == ("warning", True)
                break


def test_events_tell_of_approvals(http: httpx.Client, make_agent: MakeAgent, openai_simulator: OpenAISimulator) -> None:
    tool = {
        "name": "delete",
        "description": "",
        "parameters": {"type": "object", "properties": {}},
        "action": "delete",
        "kind": "http",
        "url": openai_simulator.tool_url("delete"),
        "method": "POST",
    }
    make_agent("helper", models=["openai/gpt-4o-mini"], maturity="intern", tools=[tool])
    openai_simulator.will_call("delete", {})
    session_id = say(http).json()["session_id"]
    found = events_until(http, session_id, lambda name, data: name == "approval_needed")
    assert found[-1][2]["approval_id"] == str(Approval.objects.get().pk)
    assert settled(http, session_id, "waiting_approval")


def test_agent_paths_are_the_same_sessions(http: httpx.Client, helper: Agent) -> None:
    started = http.post("/agent/start", json={"agent": "helper", "model": "openai/gpt-4o", "prompt": "Hello"})
    session_id = started.json()["session_id"]
    assert started.status_code == 202
    settled(http, session_id, "stable")
    assert http.get(f"/agent/{session_id}/status").json() == http.get(f"/status?session_id={session_id}").json()
    assert say(http, "More", session_id=session_id).status_code == 202
    settled(http, session_id, "stable")
    assert told(http, session_id) == ["Hello", "You said: Hello", "More", "You said: More"]
    assert set(Run.objects.values_list("model_requested", flat=True)) == {"openai/gpt-4o"}
    Run.objects.filter(pk=Run.objects.all()[0].pk).update(status="interrupted")
    assert http.get(f"/agent/{session_id}/status").json()["status"] == "interrupted"
    assert say(http, "", session_id=session_id, capability="resume").status_code == 202
    settled(http, session_id, "stable")
    with http.stream("GET", f"/agent/{session_id}/logs") as logs:
        assert next(named_events(logs))[2]["message"] == "Hello"


def test_starting_without_a_prompt_runs_nothing(http: httpx.Client, helper: Agent) -> None:
    started = http.post("/agent/start", json={"agent": "helper"}).json()
    assert (started["status"], started["message_count"], Run.objects.count()) == ("stable", 0, 0)


def test_stop_stops_the_run_and_its_queue(http: httpx.Client, helper: Agent, openai_simulator: OpenAISimulator) -> None:
    openai_simulator.will_say("one two three four five", delay_s=0.5)
    session_id = say(http).json()["session_id"]
    say(http, "More", session_id=session_id, queue=True)
    assert http.post(f"/agent/{session_id}/stop").status_code == 202
    settled(http, session_id, "stable")
    assert [run.status for run in Run.objects.all()] == ["cancelled"]


@pytest.mark.parametrize("path", ["/messages", "/status", "/events"])
def test_a_session_must_be_named_and_known(http: httpx.Client, path: str) -> None:
    assert http.get(path).status_code == 400
    assert http.get(path, params={"session_id": NOWHERE}).status_code == 404
    assert http.get(path, params={"session_id": "none"}).status_code == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/messages?session_id={}"),
        ("GET", "/status?session_id={}"),
        ("GET", "/events?session_id={}"),
        ("GET", "/agent/{}/status"),
        ("GET", "/agent/{}/logs"),
        ("POST", "/agent/{}/stop"),
        ("POST", "/message"),
        ("POST", "/agent/start"),
    ],
)
def test_mallory_finds_nothing(
    http: httpx.Client, server: str, helper: Agent, mallory: Principal, token_of: Any, method: str, path: str
) -> None:
    session_id = say(http).json()["session_id"]
    settled(http, session_id, "stable")
    body = {"session_id": session_id, "content": "Hi", "agent": "helper"} if method == "POST" else None
    with httpx.Client(base_url=server, headers=bearer(token_of(mallory)), timeout=30) as hers:
        assert hers.request(method, path.format(session_id), json=body).status_code == 404
        without_agent = {"session_id": session_id, "content": "Hi"}
        assert hers.post("/message", json=without_agent).status_code == 404
    assert httpx.request(method, f"{server}{path.format(session_id)}", json=body).status_code == 401
    assert told(http, session_id) == ["Hello", "You said: Hello"]


def test_a_list_that_was_handed_out_is_a_copy(http: httpx.Client, helper: Agent) -> None:
    session_id = say(http).json()["session_id"]
    settled(http, session_id, "stable")
    handed_out = http.get("/messages", params={"session_id": session_id}).json()
    handed_out["messages"].clear()
    assert told(http, session_id) == ["Hello", "You said: Hello"]


def test_plain_run_events_are_not_disturbed(http: httpx.Client, helper: Agent) -> None:
    session_id = say(http).json()["session_id"]
    settled(http, session_id, "stable")
    run = Run.objects.get(session_id=session_id)
    with http.stream("GET", f"/api/runs/{run.pk}/events/") as response:
        assert [event["type"] for event in sse_events(response)][-1] == "run_ended"
