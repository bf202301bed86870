"""What a run used and whom it tried: written down once, however it ends."""

import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import httpx
import pytest
from django.utils import timezone
from pytest_django import Settings

from agents.models import Agent, Attempt, Run
from agents.runs import records
from agents.runs.attempts import decode, encode
from agents.runs.events import TextDelta
from agents.runs.lost import interrupt_lost_runs
from agents.runs.streams import RunLog, used_of
from agents.tasks import continue_run
from atom.ground.database import in_db
from atom.ground.principal import Principal
from atom.ground.store import close_store
from governance.models import Approval
from governance.services import approve
from governance.tasks import execute_approved
from llm.attempts import Attempt as LLMAttempt
from llm.events import Usage
from llm.messages import Text
from tests.agents.test_runs import old, opened
from tests.agents.test_tools import tool
from tests.events import bearer, sse_events
from tests.llm.wirekit import KITS, Kit
from tests.simulators.openai import OpenAISimulator
from tests.simulators.server import Simulator

MakeAgent = Callable[..., Agent]
MODELS = {
    "openai_chat": "openai/gpt-4o-mini",
    "openai_responses": "openai/o3-pro",
    "anthropic_messages": "anthropic/claude-haiku-4-5",
    "gemini": "gemini/gemini-2.5-flash",
}
BOTH = ["openai/gpt-4o-mini", "deepseek/deepseek-chat"]
SENT = {"prompt_tokens": 1000, "completion_tokens": 10}
# Of gpt-4o-mini, in dollars for a token: https://openai.com/api/pricing
IN, OUT = Decimal("0.00000015"), Decimal("0.0000006")


@pytest.fixture(params=KITS, ids=lambda kit: kit.wire)
def kit(request: pytest.FixtureRequest) -> Kit:
    found: Kit = request.param
    return found


@pytest.fixture
def simulator(kit: Kit, server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulator]:
    """The provider of the wire's model, behind the running server."""
    name = MODELS[kit.wire].partition("/")[0].upper()
    with kit.simulator() as running:
        monkeypatch.setenv(f"{name}_API_KEY", "sk-simulated")
        monkeypatch.setenv(f"{name}_BASE_URL", running.base_url)
        yield running


@pytest.fixture
def second(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenAISimulator]:
    with OpenAISimulator() as running:
        monkeypatch.setenv("DEEPSEEK_API_KEY", "sk-second")
        monkeypatch.setenv("DEEPSEEK_BASE_URL", running.base_url)
        yield running


def price(http: httpx.Client, model: str) -> None:
    """Three dollars for a million tokens sent, one for cached ones, seven for those said."""
    given = {"input_usd_per_million": "3", "cached_usd_per_million": "1", "output_usd_per_million": "7"}
    assert http.post("/api/models/", json={"model": model, **given}).status_code in (200, 201)


def asked(model: str, *, stream: bool = False) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "hi"}], "stream": stream}


def ask(http: httpx.Client, model: str, *, stream: bool = False) -> dict[str, Any]:
    """The run of one call on `/v1`, as it is shown when it has ended."""
    answer = http.post("/v1/chat/completions", json=asked(model, stream=stream))
    return ended(http, answer.headers["x-atom-run"])


def leave(http: httpx.Client, model: str) -> dict[str, Any]:
    """The run of a stream whose client goes after the second word."""
    with http.stream("POST", "/v1/chat/completions", json=asked(model, stream=True)) as answer:
        said = (event for event in sse_events(answer) if event["choices"][0]["delta"].get("content"))
        next(said), next(said)
    return ended(http, answer.headers["x-atom-run"])


def attempt(usage: Usage = Usage(1000), cost: Decimal | None = Decimal("0.00015")) -> LLMAttempt:  # noqa: B008
    return LLMAttempt(
        provider="openai",
        model="gpt-4o-mini",
        key_id=None,
        outcome="left",
        started_at=timezone.now(),
        usage=usage,
        has_usage=True,
        cost_usd=cost,
    )


def ended(http: httpx.Client, run_id: str) -> dict[str, Any]:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        run: dict[str, Any] = http.get(f"/api/runs/{run_id}/").json()
        if run["ended_at"]:
            return run
        time.sleep(0.02)
    raise AssertionError(f"the run did not end: {run}")


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
def test_an_answer_costs_its_tokens_times_the_price(
    http: httpx.Client, kit: Kit, simulator: Simulator, stream: bool
) -> None:
    price(http, MODELS[kit.wire])
    simulator.will_say("one two", usage=kit.usage(1000, 10, 400, 3))
    run = ask(http, MODELS[kit.wire], stream=stream)
    tokens = {"input_tokens": 1000, "output_tokens": 10, "cached_tokens": 400, "reasoning_tokens": 3}
    [tried] = run["tried"]
    assert run["usage"] == tried["usage"] == tokens
    # In millionths: 3 each for 600 of those sent, 1 each for 400 from the cache, 7 each for 10 said.
    assert run["cost_usd"] == tried["cost_usd"] == "0.00227"
    assert (tried["outcome"], tried["was_called"], tried["streamed"]) == ("succeeded", True, True)
    assert f"{tried['provider']}/{tried['model']}" == MODELS[kit.wire]
    assert tried["duration_s"] >= tried["time_to_first_token_s"] > 0


def test_counts_that_grow_are_not_added_up(http: httpx.Client, kit: Kit, simulator: Simulator) -> None:
    simulator.will_say("one two three four", usage=kit.usage(1000, 8, 0, 0), usage_cumulative=True)
    usage = ask(http, MODELS[kit.wire], stream=True)["usage"]
    assert (usage["input_tokens"], usage["output_tokens"]) == (1000, 8)


def test_an_explicit_zero_stays_zero(http: httpx.Client, kit: Kit, simulator: Simulator) -> None:
    simulator.will_say("one", usage=kit.usage(0, 0, 0, 0))
    run = ask(http, MODELS[kit.wire])
    assert run["cost_usd"] == "0"
    assert set(run["tried"][0]["usage"].values()) == {0}


def test_usage_that_never_came_is_told_as_unknown(http: httpx.Client, kit: Kit, simulator: Simulator) -> None:
    simulator.will_say("one", usage=None)
    run = ask(http, MODELS[kit.wire])
    assert run["tried"][0]["usage"] is None
    assert http.get("/api/usage/").json()["total"]["unreported_requests"] == 1


def test_a_left_stream_is_billed_by_what_the_provider_sent_until_then(
    http: httpx.Client, kit: Kit, simulator: Simulator, settings: Settings
) -> None:
    settings.ATOM_ABANDON_AFTER = 0.4
    price(http, MODELS[kit.wire])
    words = " ".join(f"word{number}" for number in range(400))
    simulator.will_say(words, delay_s=0.05, usage=kit.usage(1000, 400, 0, 0), usage_cumulative=True)
    run = leave(http, MODELS[kit.wire])
    [tried] = run["tried"]
    assert (run["status"], tried["outcome"]) == ("cancelled", "left")
    usage = tried["usage"]
    if kit.wire == "openai_responses":
        # This one counts at the end only.
        assert (usage, run["cost_usd"]) == (None, "0")
        return
    assert usage["input_tokens"] == 1000
    assert 1 <= usage["output_tokens"] < 400
    assert run["usage"] == usage
    cost = Decimal(1000 * 3 + usage["output_tokens"] * 7) / 1_000_000
    assert Decimal(run["cost_usd"]) == Decimal(tried["cost_usd"]) == cost
    assert Decimal(http.get("/api/usage/").json()["total"]["cost_usd"]) == cost
    provider = tried["provider"]
    metrics = http.get("/v1/metrics/providers").json()[provider]
    assert metrics["cost_usd"] == pytest.approx(float(cost))


def test_a_cancelled_run_keeps_what_it_used(http: httpx.Client, openai_simulator: OpenAISimulator) -> None:
    words = " ".join(f"word{number}" for number in range(400))
    openai_simulator.will_say(words, delay_s=0.05, usage=SENT, usage_cumulative=True)
    body = asked("openai/gpt-4o-mini", stream=True)
    with http.stream("POST", "/v1/chat/completions", json=body) as answer:
        said = (event for event in sse_events(answer) if event.get("choices"))
        next(said), next(said)
        run_id = answer.headers["x-atom-run"]
        assert http.post(f"/api/runs/{run_id}/cancel/").status_code == 202
    run = ended(http, run_id)
    [tried] = run["tried"]
    assert (run["status"], tried["outcome"], run["usage"]["input_tokens"]) == ("cancelled", "left", 1000)
    assert Decimal(run["cost_usd"]) == 1000 * IN + run["usage"]["output_tokens"] * OUT


def test_after_a_failover_only_the_served_call_costs(
    http: httpx.Client, make_agent: MakeAgent, openai_simulator: OpenAISimulator, second: OpenAISimulator
) -> None:
    make_agent("helper", models=["deepseek/deepseek-chat", "openai/gpt-4o-mini"])
    second.will_fail(500)
    openai_simulator.will_say("served", usage=SENT)
    run = ask(http, "agent/helper", stream=True)
    failed, served = run["tried"]
    assert run["attempts"] == 2
    assert (failed["provider"], failed["outcome"], failed["cost_usd"]) == ("deepseek", "provider_failed", "0")
    assert "deepseek" in failed["message"]
    assert (served["provider"], served["outcome"], served["message"]) == ("openai", "succeeded", "")
    assert Decimal(run["cost_usd"]) == Decimal(served["cost_usd"]) == 1000 * IN + 10 * OUT


def test_a_run_that_all_failed_tells_whom_it_tried_and_why_and_costs_nothing(
    http: httpx.Client, make_agent: MakeAgent, openai_simulator: OpenAISimulator, second: OpenAISimulator
) -> None:
    make_agent("helper", models=BOTH)
    openai_simulator.will_fail(500, body="their words {key}")
    openai_simulator.will_fail(503)
    second.will_fail(429)
    answer = http.post("/v1/chat/completions", json=asked("agent/helper"))
    assert (answer.status_code, answer.headers["x-atom-attempts"]) == (502, "3")
    run = ended(http, answer.headers["x-atom-run"])
    assert [(one["provider"], one["streamed"], one["outcome"]) for one in run["tried"]] == [
        ("openai", True, "provider_failed"),
        ("deepseek", True, "rate_limited"),
        ("openai", False, "provider_failed"),
    ]
    assert all(one["message"] and "their words" not in one["message"] for one in run["tried"])
    assert (run["status"], run["attempts"], run["cost_usd"]) == ("failed", 3, "0")


def test_a_candidate_that_was_passed_over_is_there_without_a_call(
    http: httpx.Client, make_agent: MakeAgent, openai_simulator: OpenAISimulator, second: OpenAISimulator
) -> None:
    make_agent("helper", models=BOTH)
    openai_simulator.will_fail(429, retry_after=60)
    ask(http, "agent/helper")
    run = ask(http, "agent/helper")
    passed, served = run["tried"]
    assert (passed["provider"], passed["was_called"], passed["outcome"]) == ("openai", False, "rate_limited")
    assert (served["was_called"], run["attempts"]) == (True, 1)
    assert http.get("/api/usage/?provider=openai").json()["total"]["calls"] == 1


def test_a_stream_that_breaks_after_its_first_word_keeps_what_was_used(
    http: httpx.Client, openai_simulator: OpenAISimulator
) -> None:
    openai_simulator.will_say("one two three four", usage=SENT, usage_cumulative=True, cut_after=2)
    run = ask(http, "openai/gpt-4o-mini", stream=True)
    [tried] = run["tried"]
    assert (run["status"], tried["outcome"]) == ("failed", "bad_provider_response")
    assert Decimal(run["cost_usd"]) == 1000 * IN + tried["usage"]["output_tokens"] * OUT


def test_a_call_that_fails_before_its_first_word_costs_nothing_whatever_was_counted(
    http: httpx.Client, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kit = next(kit for kit in KITS if kit.wire == "anthropic_messages")
    with kit.simulator() as simulator:
        monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-simulated")
        monkeypatch.setenv("ANTHROPIC_BASE_URL", simulator.base_url)
        simulator.will_say("never heard", usage=kit.usage(1000, 8, 0, 0), cut_after=0)
        simulator.will_say("without streaming", usage=kit.usage(30, 8, 0, 0))
        price(http, MODELS[kit.wire])
        run = ask(http, MODELS[kit.wire], stream=True)
    failed, served = run["tried"]
    assert (failed["outcome"], failed["cost_usd"]) == ("bad_provider_response", "0")
    assert (served["streamed"], served["cost_usd"], run["cost_usd"]) == (False, "0.000146", "0.000146")
    assert run["usage"]["input_tokens"] == 30


def test_the_token_and_the_session_of_a_call_are_kept(
    http: httpx.Client, make_agent: MakeAgent, openai_simulator: OpenAISimulator, alice: Principal
) -> None:
    make_agent("helper")
    answer = http.post("/api/agents/helper/chat/", json={"message": "hi"}).json()
    kept = Attempt.objects.get(run_id=answer["run_id"])
    assert str(kept.session_id) == answer["session_id"]
    assert kept.user_id == alice.user_id
    assert kept.token is not None
    assert kept.token.name == "test"


def park(http: httpx.Client, simulator: OpenAISimulator, make_agent: MakeAgent) -> dict[str, Any]:
    make_agent("intern", maturity="intern", tools=[tool(simulator, "delete_record", "delete")])
    simulator.will_call("delete_record", {"id": 7}, usage=SENT)
    answer = http.post("/api/agents/intern/chat/", json={"message": "delete record 7"})
    assert answer.status_code == 202
    found: dict[str, Any] = answer.json()
    return found


def test_a_parked_run_that_goes_on_counts_everything_once(
    http: httpx.Client, make_agent: MakeAgent, openai_simulator: OpenAISimulator, bob: Principal
) -> None:
    waiting = park(http, openai_simulator, make_agent)
    parked = http.get(f"/api/runs/{waiting['run_id']}/").json()
    assert (parked["usage"]["input_tokens"], parked["attempts"], parked["model"]) == (1000, 1, "gpt-4o-mini")
    approve(approval=Approval.objects.get(pk=waiting["approval"]["id"]), principal=bob, revision=1, note="fine")
    openai_simulator.will_say("Deleted", usage={"prompt_tokens": 2000, "completion_tokens": 20})
    execute_approved(waiting["approval"]["id"])
    continue_run(waiting["run_id"])
    run = ended(http, waiting["run_id"])
    assert (run["status"], run["attempts"]) == ("succeeded", 2)
    assert [one["usage"]["input_tokens"] for one in run["tried"]] == [1000, 2000]
    cost = 3000 * IN + 30 * OUT
    assert Decimal(run["cost_usd"]) == Decimal(http.get("/api/usage/").json()["total"]["cost_usd"]) == cost
    last = http.get(f"/api/runs/{waiting['run_id']}/events/").text.strip().splitlines()[-1]
    assert f'"cost_usd":"{run["cost_usd"]}"' in last
    assert '"input_tokens":3000' in last


def test_a_parked_run_that_is_cancelled_keeps_what_it_used(
    http: httpx.Client, make_agent: MakeAgent, openai_simulator: OpenAISimulator
) -> None:
    waiting = park(http, openai_simulator, make_agent)
    run = http.post(f"/api/runs/{waiting['run_id']}/cancel/").json()
    assert (run["status"], run["provider"], run["attempts"]) == ("cancelled", "openai", 1)
    assert Decimal(run["cost_usd"]) == 1000 * IN + 10 * OUT


def test_the_store_knows_what_a_run_uses_while_it_goes_on(
    http: httpx.Client, openai_simulator: OpenAISimulator, store: Any
) -> None:
    words = " ".join(f"word{number}" for number in range(400))
    openai_simulator.will_say(words, delay_s=0.05, usage=SENT, usage_cumulative=True)
    body = asked("openai/gpt-4o-mini", stream=True)
    with http.stream("POST", "/v1/chat/completions", json=body) as answer:
        said = (event for event in sse_events(answer) if event["choices"][0]["delta"].get("content"))
        next(said), next(said)
        run_id = answer.headers["x-atom-run"]
        entries = store.xrange(f"atom:run:{run_id}:events")
        http.post(f"/api/runs/{run_id}/cancel/")
    [[place, one]] = decode([fields[b"u"] for _, fields in entries if b"u" in fields][-1])
    assert (place, one.provider, one.usage.input_tokens, one.was_called) == (0, "openai", 1000, True)
    ended(http, run_id)


async def test_a_lost_run_keeps_what_its_process_had_told_the_store(
    transactional_db: None, store: Any, make_agent: MakeAgent
) -> None:
    run = await in_db(opened, await in_db(make_agent), created_at=old())
    log = RunLog(run.id)
    told = encode([(0, attempt())])
    log.used = lambda: told
    await log.emit(TextDelta("half"))
    await log.flush()
    assert await used_of(run.id) == told
    assert await interrupt_lost_runs() == 1
    await in_db(run.refresh_from_db)
    assert (run.status, run.provider, run.attempts, run.input_tokens) == ("interrupted", "openai", 1, 1000)
    assert run.cost_usd == Decimal("0.00015")
    # The process was only slow, and says now what really became of its call.
    outcome = records.Outcome(status="succeeded", tried=[(0, attempt(Usage(1000, 10), Decimal("0.000156")))])
    assert await in_db(records.end_run, run_id=run.id, outcome=outcome, answer=[], is_own=True) is None
    await in_db(run.refresh_from_db)
    assert (run.status, run.output_tokens, run.cost_usd) == ("interrupted", 10, Decimal("0.000156"))
    assert await in_db(Attempt.objects.count) == 1
    await close_store()


def test_a_cost_beyond_belief_does_not_keep_a_run_from_ending(db: None, make_agent: MakeAgent) -> None:
    run = opened(make_agent())
    outcome = records.Outcome(status="succeeded", tried=[(0, attempt(cost=Decimal("1e12")))])
    records.end_run(run_id=run.id, outcome=outcome, answer=[])
    run.refresh_from_db()
    assert (run.status, run.cost_usd) == ("succeeded", None)


def test_what_is_handed_in_twice_is_counted_once(db: None, make_agent: MakeAgent) -> None:
    run = opened(make_agent())
    tried = [(0, attempt()), (1, attempt(cost=None))]
    outcome = records.Outcome(status="succeeded", tried=tried)
    for _ in range(2):
        records.end_run(run_id=run.id, outcome=outcome, answer=[Text("x")], is_own=True)
    run.refresh_from_db()
    assert (run.attempts, run.input_tokens, run.cost_usd) == (2, 2000, None)


def test_the_ledger_outlives_its_run(db: None, make_agent: MakeAgent) -> None:
    run = opened(make_agent())
    records.end_run(run_id=run.id, outcome=records.Outcome(status="succeeded", tried=[(0, attempt())]), answer=[])
    Run.objects.all().delete()
    kept = Attempt.objects.get()
    assert (kept.run_id, kept.cost_usd) == (None, Decimal("0.00015"))


def test_mallory_sees_nothing_of_what_was_tried(
    http: httpx.Client,
    openai_simulator: OpenAISimulator,
    mallory: Principal,
    token_of: Callable[[Principal], str],
) -> None:
    run = ask(http, "openai/gpt-4o-mini")
    assert http.get(f"/api/runs/{run['id']}/", headers=bearer(token_of(mallory))).status_code == 404
