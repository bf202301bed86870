"""A budget holds across processes: many callers at once, two web processes."""

import asyncio
from collections.abc import Callable
from decimal import Decimal

import httpx
import pytest

from tests.events import bearer
from tests.live.instance import Instance
from tests.simulators.openai import OpenAISimulator

pytestmark = [pytest.mark.chaos, pytest.mark.xdist_group("live"), pytest.mark.timeout(180)]

MODEL = "openai/gpt-4o-mini"
ASK = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}]}
PRICE = {"model": MODEL, "input_usd_per_million": "0", "output_usd_per_million": "1000"}
CALLERS = 200


def test_budget_enforced_for_two_hundred_callers_of_two_processes(
    new_instance: Callable[..., Instance], openai_simulator: OpenAISimulator
) -> None:
    instance = new_instance(
        OPENAI_API_KEY="sk-simulated-openai-key",
        OPENAI_BASE_URL=openai_simulator.base_url,
        ATOM_ALLOWED_PROVIDER_HOSTS="127.0.0.1",
        WEB_CONCURRENCY="2",
    )
    instance.start()
    headers = bearer(instance.credentials()["access_token"])
    with httpx.Client(base_url=instance.url, headers=headers, timeout=60, trust_env=False) as client:
        client.post("/api/models/", json=PRICE)
        run_id = client.post("/v1/chat/completions", json=ASK).headers["x-atom-run"]
        cost = Decimal(client.get(f"/api/runs/{run_id}/").json()["cost_usd"])
        limit = {"scope": "workspace", "period": "total", "limit_usd": f"{cost * 11:f}"}
        budget = client.post("/api/budgets/", json=limit).json()
        assert Decimal(budget["spent_usd"]) == cost
        before = len(openai_simulator.requests)
        statuses = asyncio.run(ask_together(instance.url, headers))
        assert set(statuses) == {200, 402}
        assert 10 <= statuses.count(200) <= 11
        # What was answered is what the provider was asked: nobody was called in vain.
        assert len(openai_simulator.requests) - before == statuses.count(200)
        now = client.get(f"/api/budgets/{budget['id']}/").json()
        assert now["reserved_usd"] == "0"
        assert Decimal(now["spent_usd"]) == cost * (1 + statuses.count(200))


async def ask_together(url: str, headers: dict[str, str]) -> list[int]:
    limits = httpx.Limits(max_connections=CALLERS)
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=120, limits=limits, trust_env=False) as client:
        answers = await asyncio.gather(*[client.post("/v1/chat/completions", json=ASK) for _ in range(CALLERS)])
    return [answer.status_code for answer in answers]
