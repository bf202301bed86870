"""Health and the root."""

import httpx
import pytest
import redis
from django.test import AsyncClient

from atom.ground.health import WORKER_KEY


def get(url: str, **headers: str) -> httpx.Response:
    return httpx.get(url, headers=headers, trust_env=False)


@pytest.fixture
def worker(store: redis.Redis) -> None:
    store.set(WORKER_KEY, b"1")


def test_a_process_says_that_it_lives(server: str) -> None:
    assert get(f"{server}/healthz").json() == {"status": "alive"}


def test_with_every_part_it_is_ready(server: str, worker: None) -> None:
    assert get(f"{server}/readyz").json() == {"status": "ready", "failing": []}


def test_without_a_worker_it_says_so(server: str) -> None:
    answer = get(f"{server}/readyz")
    assert (answer.status_code, answer.json()) == (503, {"status": "unready", "failing": ["worker"]})


def test_health_is_degraded_without_a_worker(server: str) -> None:
    answer = get(f"{server}/health")
    assert (answer.status_code, answer.json()["status"]) == (503, "degraded")


def test_health_carries_the_version(server: str, worker: None) -> None:
    answer = get(f"{server}/health")
    assert (answer.status_code, answer.json()["status"], bool(answer.json()["version"])) == (200, "healthy", True)


def test_a_program_learns_where_it_is(server: str) -> None:
    assert set(get(f"{server}/").json()) == {"name", "version", "docs"}


def test_a_browser_is_sent_to_the_admin(server: str) -> None:
    answer = get(f"{server}/", Accept="text/html,*/*;q=0.8")
    assert (answer.status_code, answer.headers["location"]) == (302, "/admin/")


async def test_a_draining_process_is_not_ready(monkeypatch: pytest.MonkeyPatch, async_client: AsyncClient) -> None:
    monkeypatch.setattr("atom.ground.draining._since", 1.0)
    answer = await async_client.get("/readyz")
    assert (answer.status_code, answer.json()["failing"]) == (503, ["draining"])
