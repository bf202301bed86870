"""Budgets: made and read over the API, counted in the store, refused through every door."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
import redis
import time_machine
from django.utils import timezone
from rest_framework.test import APIClient

from agents.gate import Spender
from agents.models import Agent, Attempt
from atom.ground import audit
from atom.ground.models import AuditEntry, Workspace
from atom.ground.principal import Principal
from atom.ground.store import close_store
from governance.budgets import ledger, spending
from governance.budgets.windows import window_of
from governance.models import Approval, Budget
from llm.errors import OverBudget
from tests.events import bearer
from tests.simulators.openai import OpenAISimulator

MODEL = "openai/gpt-4o-mini"
Api = Callable[[Principal | None], APIClient]


@pytest.fixture
def owner(api: Api, alice: Principal, store: redis.Redis) -> APIClient:
    return api(alice)


def made(client: APIClient, **given: Any) -> Any:
    body = {"scope": "workspace", "period": "day", "limit_usd": "0.02", **given}
    answer = client.post("/api/budgets/", body, format="json")
    assert answer.status_code == 201, answer.content
    return answer.json()


# --- Made, read, changed -----------------------------------------------------------------------------------
def test_a_budget_says_what_is_spent_and_held(owner: APIClient) -> None:
    budget = made(owner)
    assert budget["limit_usd"] == "0.02"
    assert (budget["spent_usd"], budget["reserved_usd"], budget["hard"]) == ("0", "0", True)
    assert owner.get("/api/budgets/").json()["results"] == [budget]


@pytest.mark.parametrize("limit", ["-1", "NaN", "Infinity", "a lot", "1e12", None], ids=str)
def test_a_limit_that_is_no_amount_is_a_400(owner: APIClient, limit: str | None) -> None:
    body = {"scope": "workspace", "period": "day", "limit_usd": limit}
    answer = owner.post("/api/budgets/", body, format="json")
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "limit_usd")


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"scope": "planet"}, "scope"),
        ({"period": "week"}, "period"),
        ({"scope": "agent"}, "agent"),
        ({"scope": "workspace", "agent": "helper"}, "agent"),
        ({"scope": "token"}, "token"),
    ],
    ids=["scope", "period", "no-agent", "agent-too-many", "no-token"],
)
def test_a_budget_that_does_not_fit_together_is_a_400(
    owner: APIClient, make_agent: Callable[..., Agent], given: dict[str, Any], param: str
) -> None:
    make_agent()
    answer = owner.post("/api/budgets/", {"scope": "workspace", "period": "day", "limit_usd": "1", **given}, "json")
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert not Budget.objects.exists()


def test_every_change_is_in_the_audit_trail(owner: APIClient, workspace: Workspace) -> None:
    budget = made(owner)
    assert owner.patch(f"/api/budgets/{budget['id']}/", {"limit_usd": "3"}, "json").json()["limit_usd"] == "3"
    assert owner.delete(f"/api/budgets/{budget['id']}/").status_code == 204
    events = AuditEntry.objects.filter(workspace=workspace, event__startswith="budget.").order_by("seq")
    assert [entry.event for entry in events] == ["budget.created", "budget.changed", "budget.deleted"]
    assert audit.verify(workspace.id) is None


def test_mallory_neither_sees_nor_makes_budgets_of_others(
    owner: APIClient, api: Api, mallory: Principal, make_agent: Callable[..., Agent]
) -> None:
    make_agent()
    budget, hers = made(owner), api(mallory)
    address = f"/api/budgets/{budget['id']}/"
    assert hers.get("/api/budgets/").json()["results"] == []
    assert hers.get(address).status_code == 404
    assert hers.patch(address, {"limit_usd": "9"}, "json").status_code == 404
    assert hers.delete(address).status_code == 404
    body = {"scope": "agent", "agent": "helper", "period": "day", "limit_usd": "0"}
    assert hers.post("/api/budgets/", body, "json").status_code == 404


def test_only_an_owner_sets_budgets(api: Api, bob: Principal, carol: Principal, store: redis.Redis) -> None:
    body = {"scope": "workspace", "period": "day", "limit_usd": "1"}
    for person in (bob, carol):
        assert api(person).post("/api/budgets/", body, "json").status_code == 403


# --- Windows -------------------------------------------------------------------------------------------------
def test_days_and_months_are_those_of_utc() -> None:
    late = datetime(2026, 12, 31, 23, 59, tzinfo=UTC)
    day, month, total = (window_of(period, late) for period in ("day", "month", "total"))
    assert (day.name, day.ends_at) == ("20261231", datetime(2027, 1, 1, tzinfo=UTC))
    assert (month.name, month.starts_at, month.ends_at) == (
        "202612",
        datetime(2026, 12, 1, tzinfo=UTC),
        datetime(2027, 1, 1, tzinfo=UTC),
    )
    assert (total.name, total.starts_at, total.ends_at) == ("total", None, None)


# --- Reserving and settling ------------------------------------------------------------------------------------
def spender_in(workspace: Workspace, **given: Any) -> Spender:
    return Spender(**{"workspace_id": workspace.id, "agent_id": uuid4(), "run_id": uuid4(), **given})


def in_a_loop(work: Any) -> Any:
    async def alone() -> Any:
        try:
            return await work
        finally:
            await close_store()

    return asyncio.run(alone())


def spend(spender: Spender, cost: str, estimate: str = "0.001") -> None:
    async def once() -> None:
        hold = await spending.reserve(spender, MODEL, Decimal(estimate))
        assert hold is not None
        await hold.settle(Decimal(cost))

    in_a_loop(once())


@pytest.mark.django_db(transaction=True)
class TestCounting:
    def test_what_is_settled_is_spent_exactly(self, owner: APIClient, workspace: Workspace) -> None:
        budget = made(owner)
        spend(spender_in(workspace), "0.000000105")
        spend(spender_in(workspace), "0.000000210")
        now = owner.get(f"/api/budgets/{budget['id']}/").json()
        assert (now["spent_usd"], now["reserved_usd"]) == ("0.000000315", "0")

    def test_a_call_that_failed_gives_all_of_it_back(self, owner: APIClient, workspace: Workspace) -> None:
        budget = made(owner)
        spend(spender_in(workspace), "0")
        now = owner.get(f"/api/budgets/{budget['id']}/").json()
        assert (now["spent_usd"], now["reserved_usd"]) == ("0", "0")

    def test_a_used_up_budget_refuses_and_says_which_and_until_when(
        self, owner: APIClient, workspace: Workspace
    ) -> None:
        budget = made(owner)
        spend(spender_in(workspace), "0.02")
        with pytest.raises(OverBudget) as refused:
            spend(spender_in(workspace), "0.001")
        assert "0.02 USD a day for the workspace is used up" in refused.value.message
        assert refused.value.body()["error"]["details"]["budget_id"] == UUID(budget["id"])

    def test_a_used_up_budget_is_in_the_audit_trail_once(self, owner: APIClient, workspace: Workspace) -> None:
        made(owner)
        spend(spender_in(workspace), "0.03")
        with pytest.raises(OverBudget):
            spend(spender_in(workspace), "0.03")
        assert AuditEntry.objects.filter(workspace=workspace, event="budget.used_up").count() == 1

    def test_an_approval_whose_money_is_gone_says_so_and_stays(
        self, owner: APIClient, workspace: Workspace, ask: Callable[..., Approval]
    ) -> None:
        budget, asked = made(owner), ask()
        spend(spender_in(workspace), "0.02")
        refused = owner.post(f"/api/approvals/{asked.pk}/approve/", {"revision": 1}, format="json")
        assert (refused.status_code, refused.json()["error"]["code"]) == (402, "budget_exceeded")
        assert "0.02 USD a day for the workspace is used up" in refused.json()["error"]["message"]
        owner.patch(f"/api/budgets/{budget['id']}/", {"limit_usd": "1"}, format="json")
        approved = owner.post(f"/api/approvals/{asked.pk}/approve/", {"revision": 1}, format="json")
        assert (approved.status_code, approved.json()["status"]) == (200, "approved")

    def test_many_approved_together_say_each_that_the_money_is_gone(
        self, owner: APIClient, workspace: Workspace, ask: Callable[..., Approval]
    ) -> None:
        made(owner)
        asked = ask()
        spend(spender_in(workspace), "0.02")
        body = {"decision": "approve", "items": [{"id": str(asked.pk), "revision": 1}]}
        answer = owner.post("/api/approvals/bulk/", body, format="json")
        assert "used up" in answer.content.decode()
        asked.refresh_from_db()
        assert asked.status == "pending"

    def test_the_budget_of_somebody_else_and_a_soft_one_stand_in_no_approvals_way(
        self, owner: APIClient, workspace: Workspace, ask: Callable[..., Approval], make_agent: Callable[..., Agent]
    ) -> None:
        other = make_agent("other")
        made(owner, scope="agent", agent=str(other.id))
        made(owner, hard=False)
        spend(spender_in(workspace, agent_id=other.id), "0.02")
        asked = ask()
        approved = owner.post(f"/api/approvals/{asked.pk}/approve/", {"revision": 1}, format="json")
        assert approved.status_code == 200

    def test_an_agent_with_a_free_model_needs_no_money_for_what_is_approved(
        self, owner: APIClient, workspace: Workspace, ask: Callable[..., Approval]
    ) -> None:
        made(owner)
        asked = ask()
        Agent.objects.filter(pk=asked.agent_id).update(models=[MODEL, "local/tiny"])
        spend(spender_in(workspace), "0.02")
        approved = owner.post(f"/api/approvals/{asked.pk}/approve/", {"revision": 1}, format="json")
        assert approved.status_code == 200

    def test_a_soft_budget_lets_pass_and_tells(self, owner: APIClient, workspace: Workspace) -> None:
        made(owner, hard=False)
        spend(spender_in(workspace), "0.03")
        spend(spender_in(workspace), "0.03")
        assert AuditEntry.objects.filter(workspace=workspace, event="budget.soft_limit_reached").count() == 1

    def test_a_new_day_begins_anew(self, owner: APIClient, workspace: Workspace) -> None:
        made(owner)
        spend(spender_in(workspace), "0.02")
        with time_machine.travel(timezone.now() + timedelta(days=1)):
            spend(spender_in(workspace), "0.02")

    def test_an_agents_budget_counts_that_agent_alone(
        self, owner: APIClient, workspace: Workspace, make_agent: Callable[..., Agent]
    ) -> None:
        agent = make_agent()
        made(owner, scope="agent", agent="helper")
        spend(spender_in(workspace, agent_id=agent.id), "0.02")
        with pytest.raises(OverBudget):
            spend(spender_in(workspace, agent_id=agent.id), "0.02")
        assert in_a_loop(spending.reserve(spender_in(workspace), MODEL, Decimal("0.01"))) is None

    def test_a_raised_limit_is_in_force_at_once(self, owner: APIClient, workspace: Workspace) -> None:
        budget = made(owner)
        spend(spender_in(workspace), "0.02")
        owner.patch(f"/api/budgets/{budget['id']}/", {"limit_usd": "0.04"}, "json")
        spend(spender_in(workspace), "0.02")

    def test_a_hold_that_nobody_settles_falls_away(
        self, owner: APIClient, workspace: Workspace, monkeypatch: pytest.MonkeyPatch, settings: Any
    ) -> None:
        budget = made(owner)
        settings.ATOM_TOTAL_TIMEOUT = 0.2
        monkeypatch.setattr(spending, "GRACE_S", 0.0)
        in_a_loop(spending.reserve(spender_in(workspace), MODEL, Decimal(5)))
        # Waits for the hold, which its process never settles, and then has its turn.
        spend(spender_in(workspace), "0.001")
        assert owner.get(f"/api/budgets/{budget['id']}/").json()["reserved_usd"] == "0"

    def test_a_store_that_lost_everything_is_told_by_the_ledger(
        self, owner: APIClient, workspace: Workspace, make_agent: Callable[..., Agent], store: redis.Redis
    ) -> None:
        budget, agent = made(owner), make_agent()
        attempt(workspace, agent, cost="0.015", started_at=timezone.now())
        attempt(workspace, agent, cost="4", started_at=timezone.now() - timedelta(days=2))
        store.flushall()
        assert owner.get(f"/api/budgets/{budget['id']}/").json()["spent_usd"] == "0.015"
        spend(spender_in(workspace), "0.005")
        with pytest.raises(OverBudget):
            spend(spender_in(workspace), "0.005")

    def test_rebuilding_lifts_a_counter_and_never_lowers_it(
        self, owner: APIClient, workspace: Workspace, make_agent: Callable[..., Agent]
    ) -> None:
        budget, agent = made(owner), make_agent()
        spend(spender_in(workspace), "0.004")
        assert ledger.rebuild() == 1
        assert owner.get(f"/api/budgets/{budget['id']}/").json()["spent_usd"] == "0.004"
        attempt(workspace, agent, cost="0.006", started_at=timezone.now())
        ledger.rebuild()
        assert owner.get(f"/api/budgets/{budget['id']}/").json()["spent_usd"] == "0.006"


def attempt(workspace: Workspace, agent: Agent, *, cost: str, started_at: datetime) -> Attempt:
    return Attempt.objects.create(
        workspace=workspace,
        agent=agent,
        request_id=uuid4(),
        place=0,
        provider="openai",
        model="gpt-4o-mini",
        outcome="succeeded",
        started_at=started_at,
        cost_usd=Decimal(cost),
    )


# --- Through the doors --------------------------------------------------------------------------------------------
PRICE = {"model": MODEL, "input_usd_per_million": "0", "output_usd_per_million": "1000"}


@pytest.fixture
def web(server: str, alice: Principal, token_of: Callable[[Principal], str]) -> Iterator[httpx.Client]:
    """Alice's client; a word of the simulated model costs a tenth of a cent."""
    with httpx.Client(base_url=server, headers=bearer(token_of(alice)), timeout=30) as client:
        assert client.post("/api/models/", json=PRICE).status_code == 201
        yield client


def budget_of(web: httpx.Client, **given: Any) -> str:
    body = {"scope": "workspace", "period": "total", "limit_usd": "0.02", **given}
    return str(web.post("/api/budgets/", json=body).json()["id"])


def ask(web: httpx.Client, model: str = MODEL, **given: Any) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 2, **given}
    return web.post("/v1/chat/completions", json=body)


def cost_of(web: httpx.Client, answer: httpx.Response) -> Decimal:
    run = web.get(f"/api/runs/{answer.headers['x-atom-run']}/").json()
    return Decimal(run["cost_usd"])


def test_budget_enforced_on_every_door_as_402(
    web: httpx.Client, openai_simulator: OpenAISimulator, make_agent: Callable[..., Agent]
) -> None:
    make_agent()
    budget_of(web, limit_usd="0")
    plain = ask(web)
    assert (plain.status_code, plain.json()["error"]["code"]) == (402, "budget_exceeded")
    assert ask(web, stream=True).status_code == 402
    assert ask(web, model="agent/helper").status_code == 402
    assert web.post("/api/agents/helper/chat/", json={"message": "hi"}).status_code == 402
    assert openai_simulator.requests == []


def test_what_a_call_cost_is_counted_and_nothing_stays_held(
    web: httpx.Client, openai_simulator: OpenAISimulator
) -> None:
    budget = budget_of(web)
    openai_simulator.will_say("one two")
    cost = cost_of(web, ask(web))
    now = web.get(f"/api/budgets/{budget}/").json()
    assert Decimal(now["spent_usd"]) == cost > 0
    assert now["reserved_usd"] == "0"


def test_a_free_model_is_never_blocked_by_money(web: httpx.Client, openai_simulator: OpenAISimulator) -> None:
    free = {"model": "openai/free", "input_usd_per_million": "0", "output_usd_per_million": "0"}
    web.post("/api/models/", json=free)
    budget_of(web, limit_usd="0")
    assert ask(web).status_code == 402
    assert ask(web, model="openai/free").status_code == 200


def test_an_agent_goes_on_with_a_free_model_when_the_money_is_spent(
    web: httpx.Client, openai_simulator: OpenAISimulator, make_agent: Callable[..., Agent]
) -> None:
    free = {"model": "openai/free", "input_usd_per_million": "0", "output_usd_per_million": "0"}
    web.post("/api/models/", json=free)
    make_agent("thrifty", models=[MODEL, "openai/free"])
    budget_of(web, limit_usd="0")
    answer = ask(web, model="agent/thrifty")
    assert (answer.status_code, answer.headers["x-atom-model"]) == (200, "free")


def test_a_tokens_budget_binds_that_token(web: httpx.Client, server: str, openai_simulator: OpenAISimulator) -> None:
    other = web.post("/api/tokens/", json={"name": "spender"}).json()
    budget_of(web, scope="token", token=other["id"], limit_usd="0")
    with httpx.Client(base_url=server, headers=bearer(other["token"]), timeout=30) as bound:
        assert ask(bound).status_code == 402
    assert ask(web).status_code == 200


def test_a_sessions_budget_binds_that_session(
    web: httpx.Client, openai_simulator: OpenAISimulator, make_agent: Callable[..., Agent]
) -> None:
    make_agent()
    first = web.post("/api/agents/helper/chat/", json={"message": "hi"}).json()
    budget_of(web, scope="session", session=first["session_id"], limit_usd="0")
    again = {"message": "hi", "session_id": first["session_id"]}
    assert web.post("/api/agents/helper/chat/", json=again).status_code == 402
    assert web.post("/api/agents/helper/chat/", json={"message": "hi"}).status_code == 200


def test_a_failed_call_gives_back_what_it_held(web: httpx.Client, openai_simulator: OpenAISimulator) -> None:
    budget = budget_of(web)
    openai_simulator.will_fail(500)
    openai_simulator.will_fail(500)
    assert ask(web).status_code == 502
    now = web.get(f"/api/budgets/{budget}/").json()
    assert (now["spent_usd"], now["reserved_usd"]) == ("0", "0")


def test_a_limit_of_ten_calls_lets_eleven_of_many_pass_at_most(
    web: httpx.Client, openai_simulator: OpenAISimulator
) -> None:
    budget = budget_of(web, limit_usd="1000")
    # The simulator says more than it was allowed, as providers do: the first call teaches what one costs.
    cost = cost_of(web, ask(web))
    web.patch(f"/api/budgets/{budget}/", json={"limit_usd": f"{cost * 11:f}"})
    with ThreadPoolExecutor(30) as pool:
        statuses = [answer.status_code for answer in pool.map(lambda _: ask(web), range(59))]
    assert set(statuses) == {200, 402}
    assert 9 <= statuses.count(200) <= 11


def test_a_refused_stream_is_a_402_too(web: httpx.Client, make_agent: Callable[..., Agent]) -> None:
    make_agent()
    budget_of(web, limit_usd="0")
    body = {"message": "hi", "stream": True}
    with web.stream("POST", "/api/agents/helper/chat/", json=body) as answer:
        assert answer.status_code == 402
