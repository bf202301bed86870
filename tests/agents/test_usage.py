"""`GET /api/usage/`: exact sums, rows, filters, and who may see whose."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest
from rest_framework.test import APIClient

from agents import usage
from agents.models import Agent, Attempt, Run
from agents.runs import records
from atom.ground.models import AccessToken, Membership
from atom.ground.principal import Principal
from atom.ground.tokens import create_token
from llm.attempts import Attempt as LLMAttempt
from llm.events import Usage
from tests.events import bearer
from tests.simulators.openai import OpenAISimulator

API = Callable[[Principal | None], APIClient]
MakeAgent = Callable[..., Agent]
MONDAY = datetime(2026, 11, 16, 9, tzinfo=UTC)


def used(
    agent: Agent,
    principal: Principal,
    *,
    cost: str | None = "0.1",
    model: str = "openai/gpt-4o-mini",
    at: datetime = MONDAY,
    calls: int = 1,
    **given: Any,
) -> Run:
    """A run of the agent whose calls used 10 tokens in, 5 out, 2 cached and 1 for thoughts each."""
    run = records.open_run(
        agent=agent, user_id=principal.user_id, token_id=principal.token_id, door="test", model=model, parts=[]
    )
    provider, _, name = model.partition("/")
    one = LLMAttempt(
        provider=provider,
        model=name,
        key_id=None,
        started_at=at,
        usage=Usage(10, 5, 2, 1),
        cost_usd=None if cost is None else Decimal(cost),
        **{"outcome": "succeeded", "has_usage": True, **given},
    )
    outcome = records.Outcome(status="succeeded", tried=list(enumerate([one] * calls)))
    records.end_run(run_id=run.id, outcome=outcome, answer=[])
    return run


def total(client: APIClient, **filters: Any) -> dict[str, Any]:
    found: dict[str, Any] = client.get("/api/usage/", filters).json()["total"]
    return found


def rows(client: APIClient, by: str, **filters: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get("/api/usage/", {"by": by, **filters}).json()["by"]
    return found


def with_token(principal: Principal, name: str, scopes: list[str] | None = None) -> tuple[Principal, str]:
    """The principal as they come with a token of this name, and the token."""
    member = Membership.objects.get(user_id=principal.user_id)
    token, secret = create_token(membership=member, name=name, scopes=scopes, by="test")
    return Principal(
        principal.user_id, principal.username, principal.workspace_id, principal.role, principal.scopes, token.id
    ), secret


def test_nothing_used_is_all_zeros(api: API, alice: Principal) -> None:
    assert total(api(alice)) == {
        "requests": 0,
        "calls": 0,
        "input_tokens": 0,
        "output_tokens": 0,
        "cached_tokens": 0,
        "reasoning_tokens": 0,
        "cost_usd": "0",
        "unpriced_requests": 0,
        "unreported_requests": 0,
    }


def test_a_request_counts_once_however_many_calls_it_took(api: API, alice: Principal, make_agent: MakeAgent) -> None:
    used(make_agent(), alice, calls=3)
    found = total(api(alice))
    assert (found["requests"], found["calls"], found["input_tokens"], found["output_tokens"]) == (1, 3, 30, 15)
    assert (found["cached_tokens"], found["reasoning_tokens"], found["cost_usd"]) == (6, 3, "0.3")


def test_money_is_summed_exactly(api: API, alice: Principal, make_agent: MakeAgent) -> None:
    agent = make_agent()
    for cost in ("0.1", "0.2", "0.000000000000001", "1234.000000000000009", "8000", "0.0000007", "0.0000007"):
        used(agent, alice, cost=cost)
    assert total(api(alice))["cost_usd"] == "9234.30000140000001"


def test_more_than_64_bits_of_femto_dollars_are_summed_too(api: API, alice: Principal, make_agent: MakeAgent) -> None:
    used(make_agent(), alice, cost="9000.000000000000001", calls=3)
    assert total(api(alice))["cost_usd"] == "27000.000000000000003"


def test_a_model_without_a_price_is_flagged_and_not_free(api: API, alice: Principal, make_agent: MakeAgent) -> None:
    agent = make_agent()
    used(agent, alice, cost=None, model="custom/unheard-of")
    used(agent, alice)
    found = total(api(alice))
    assert (found["requests"], found["unpriced_requests"], found["cost_usd"]) == (2, 1, "0.1")
    assert [row["model"] for row in rows(api(alice), "model")] == ["openai/gpt-4o-mini", "custom/unheard-of"]


def test_calls_that_never_went_out_are_not_counted(api: API, alice: Principal, make_agent: MakeAgent) -> None:
    used(make_agent(), alice, was_called=False, cost="0")
    assert total(api(alice))["requests"] == 0


def test_rows_by_day_are_the_newest_first_and_days_are_utc(api: API, alice: Principal, make_agent: MakeAgent) -> None:
    agent = make_agent()
    for at in (MONDAY, datetime(2026, 11, 16, 23, 59, 59, tzinfo=UTC), datetime(2026, 11, 17, tzinfo=UTC)):
        used(agent, alice, at=at)
    found = [(row["day"], row["requests"], row["cost_usd"]) for row in rows(api(alice), "day")]
    assert found == [("2026-11-17", 1, "0.1"), ("2026-11-16", 2, "0.2")]


@pytest.mark.parametrize(
    ("by", "keys"),
    [
        ("agent", ["clerk", "helper"]),
        ("user", ["carol", "alice"]),
        ("provider", ["deepseek", "openai"]),
        ("model", ["deepseek/deepseek-chat", "openai/gpt-4o-mini"]),
    ],
)
def test_rows_are_the_dearest_first(
    api: API, alice: Principal, carol: Principal, make_agent: MakeAgent, by: str, keys: list[str]
) -> None:
    used(make_agent("helper"), alice)
    used(make_agent("clerk"), carol, cost="3", model="deepseek/deepseek-chat")
    found = rows(api(alice), by)
    assert [row[by] for row in found] == keys
    assert [row["cost_usd"] for row in found] == ["3", "0.1"]
    # What a row is called is what the filter of that name takes.
    assert total(api(alice), **{by: keys[0]})["cost_usd"] == "3"


def test_rows_by_token_have_its_name_and_id(api: API, alice: Principal, make_agent: MakeAgent) -> None:
    agent = make_agent()
    laptop, _ = with_token(alice, "laptop")
    used(agent, laptop)
    used(agent, alice, cost="3")
    signed_in, by_token = rows(api(alice), "token")
    assert (signed_in["token"], signed_in["cost_usd"]) == (None, "3")
    assert (by_token["token"], by_token["name"]) == (str(laptop.token_id), "laptop")
    assert total(api(alice), token=by_token["token"])["cost_usd"] == "0.1"


def test_a_bare_model_id_is_that_of_every_provider(api: API, alice: Principal, make_agent: MakeAgent) -> None:
    agent = make_agent()
    used(agent, alice, model="groq/openai/gpt-oss-20b")
    used(agent, alice, model="nvidia/openai/gpt-oss-20b")
    assert total(api(alice), model="openai/gpt-oss-20b")["requests"] == 2
    assert total(api(alice), model="groq/openai/gpt-oss-20b")["requests"] == 1


@pytest.mark.parametrize(
    ("filters", "days"),
    [
        ({"since": "2026-11-17"}, 2),
        ({"until": "2026-11-17"}, 2),
        ({"since": "2026-11-17", "until": "2026-11-17"}, 1),
        ({"day": "2026-11-17"}, 1),
        ({"since": "2026-11-17T09:00:00Z"}, 2),
        ({"since": "2026-11-17T09:00:01Z"}, 1),
        ({"since": "2026-11-17T10:00:00+01:00"}, 2),
        ({"until": "2026-11-17T09:00:00"}, 1),
        ({"agent": "", "day": "", "since": ""}, 3),
    ],
    ids=str,
)
def test_a_plain_date_is_the_whole_day_and_a_moment_is_itself(
    api: API, alice: Principal, make_agent: MakeAgent, filters: dict[str, str], days: int
) -> None:
    agent = make_agent()
    for day in range(3):
        used(agent, alice, at=MONDAY + timedelta(days=day))
    assert total(api(alice), **filters)["requests"] == days


@pytest.mark.parametrize(
    "filters",
    [
        {"by": "moon"},
        {"day": "yesterday"},
        {"day": "2026-13-01"},
        {"day": "9999-12-31"},
        {"since": "soon"},
        {"since": "2026-02-30"},
        {"until": "9999-12-31"},
        {"since": "2026-11-18", "until": "2026-11-17"},
        {"day": "2026-11-17", "since": "2026-11-17"},
        {"token": "laptop"},
        {"agent": "x" * 61},
        {"user": "nobody\0"},
    ],
    ids=str,
)
def test_a_bad_filter_is_a_400(api: API, alice: Principal, filters: dict[str, str]) -> None:
    answer = api(alice).get("/api/usage/", filters)
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")


def test_an_unknown_agent_is_a_404(api: API, alice: Principal) -> None:
    assert api(alice).get("/api/usage/?agent=nobody").status_code == 404


def test_more_rows_than_anyone_reads_are_cut_and_it_says_so(
    api: API, alice: Principal, make_agent: MakeAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage, "MOST_ROWS", 2)
    agent = make_agent()
    for day in range(3):
        used(agent, alice, at=MONDAY + timedelta(days=day))
    found = api(alice).get("/api/usage/?by=day").json()
    assert ([row["day"] for row in found["by"]], found["is_complete"]) == (["2026-11-18", "2026-11-17"], False)
    assert found["total"]["requests"] == 3


def test_a_member_sees_their_own_usage_only(
    api: API, alice: Principal, carol: Principal, make_agent: MakeAgent
) -> None:
    agent = make_agent()
    used(agent, alice, cost="3")
    used(agent, carol)
    assert total(api(carol))["cost_usd"] == "0.1"
    assert total(api(carol), user="alice")["requests"] == 0
    assert [row["user"] for row in rows(api(carol), "user")] == ["carol"]
    assert total(api(alice))["cost_usd"] == "3.1"


def test_a_token_for_chat_alone_shows_its_persons_own_usage(
    api: API, alice: Principal, carol: Principal, make_agent: MakeAgent
) -> None:
    agent = make_agent()
    used(agent, alice, cost="3")
    used(agent, carol)
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {with_token(alice, 'narrow', ['chat'])[1]}")
    assert total(client)["cost_usd"] == "3"
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {with_token(alice, 'other', ['feedback'])[1]}")
    assert client.get("/api/usage/").status_code == 403


def test_mallory_sees_nothing_of_it(api: API, alice: Principal, mallory: Principal, make_agent: MakeAgent) -> None:
    token, _ = with_token(alice, "laptop")
    used(make_agent("helper"), token)
    hers = api(mallory)
    assert total(hers)["requests"] == 0
    for filters in ({"user": "alice"}, {"token": str(token.token_id)}, {"model": "openai/gpt-4o-mini"}):
        assert total(hers, **filters)["requests"] == 0
    assert all(rows(hers, by) == [] for by in usage.COLUMNS)
    assert hers.get("/api/usage/?agent=helper").status_code == 404
    assert api(None).get("/api/usage/").status_code == 401


def test_a_token_that_is_gone_leaves_what_it_cost(api: API, alice: Principal, make_agent: MakeAgent) -> None:
    laptop, _ = with_token(alice, "laptop")
    used(make_agent(), laptop)
    AccessToken.objects.filter(pk=str(laptop.token_id)).delete()
    [row] = rows(api(alice), "token")
    assert (row["token"], row["cost_usd"]) == (None, "0.1")
    assert Attempt.objects.count() == 1


def test_cost_is_tracked_by_provider_and_the_same_in_usage_metrics_and_the_run(
    http: httpx.Client,
    make_agent: MakeAgent,
    openai_simulator: OpenAISimulator,
    monkeypatch: pytest.MonkeyPatch,
    mallory: Principal,
    token_of: Callable[[Principal], str],
) -> None:
    make_agent("helper", models=["openai/gpt-4o-mini"])
    make_agent("clerk", models=["deepseek/deepseek-chat"])
    price = {"input_usd_per_million": "3", "output_usd_per_million": "7"}
    http.post("/api/models/", json={"model": "deepseek/deepseek-chat", **price})
    with OpenAISimulator() as second:
        monkeypatch.setenv("DEEPSEEK_API_KEY", "sk-second")
        monkeypatch.setenv("DEEPSEEK_BASE_URL", second.base_url)
        openai_simulator.will_say("one", usage={"prompt_tokens": 1000, "completion_tokens": 10})
        second.will_say("two", usage={"prompt_tokens": 100, "completion_tokens": 10})
        openai_simulator.will_fail(500)
        openai_simulator.will_fail(500)
        answers = [
            http.post("/v1/chat/completions", json={"model": model, "messages": [{"role": "user", "content": "hi"}]})
            for model in ("agent/helper", "agent/clerk", "agent/helper")
        ]
    assert [answer.status_code for answer in answers] == [200, 200, 502]
    cost = {"openai": Decimal("0.000156"), "deepseek": Decimal("0.00037")}
    by_provider = http.get("/api/usage/?by=provider").json()
    assert {row["provider"]: Decimal(row["cost_usd"]) for row in by_provider["by"]} == cost
    assert Decimal(by_provider["total"]["cost_usd"]) == sum(cost.values())
    assert [(row["requests"], row["calls"]) for row in by_provider["by"]] == [(1, 1), (2, 3)]
    metrics = http.get("/v1/metrics/providers").json()
    for provider, amount in cost.items():
        assert metrics[provider]["cost_usd"] == pytest.approx(float(amount))
        assert metrics[provider]["cost_per_1k_input"] * 1000 == pytest.approx(3 if provider == "deepseek" else 0.15)
    runs = [http.get(f"/api/runs/{answer.headers['x-atom-run']}/").json() for answer in answers]
    assert [Decimal(run["cost_usd"]) for run in runs] == [cost["openai"], cost["deepseek"], 0]
    headers = bearer(token_of(mallory))
    assert http.get("/v1/metrics/providers", headers=headers).json() == {}
    assert http.get("/api/usage/", headers=headers).json()["total"]["requests"] == 0
