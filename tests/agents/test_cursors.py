"""A cursor that cannot be: from the future, negative, no number, or of a run or response of somebody else."""

from collections.abc import Callable

import httpx
import pytest

from agents.models import Agent
from atom.ground.principal import Principal
from tests.events import bearer

Client = Callable[[Principal], httpx.Client]


@pytest.fixture
def client(server: str, token_of: Callable[[Principal], str]) -> Client:
    def make(principal: Principal) -> httpx.Client:
        return httpx.Client(base_url=server, headers=bearer(token_of(principal)), timeout=30, trust_env=False)

    return make


@pytest.fixture
def streams(client: Client, alice: Principal, make_agent: Callable[..., Agent]) -> dict[str, tuple[str, str]]:
    """Where a run's and a response's events are read again, and what the cursor is called there."""
    make_agent()
    with client(alice) as http:
        run = http.post("/api/agents/helper/chat/", json={"message": "hi"}).json()["run_id"]
        response = http.post("/v1/responses", json={"model": "openai/gpt-4o-mini", "input": "hi"}).json()["id"]
    return {
        "run": (f"/api/runs/{run}/events/", "after"),
        "response": (f"/v1/responses/{response}?stream=true", "starting_after"),
    }


@pytest.mark.parametrize("which", ["run", "response"])
@pytest.mark.parametrize("cursor", ["100000", "-1", "1.5", "one", "9" * 40])
def test_a_cursor_that_cannot_be_is_a_400(
    client: Client, alice: Principal, streams: dict[str, tuple[str, str]], which: str, cursor: str
) -> None:
    path, name = streams[which]
    with client(alice) as http:
        answer = http.get(path, params={**httpx.URL(path).params, name: cursor})
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, name)


@pytest.mark.parametrize("cursor", ["100000", "-1", "one"])
def test_the_last_event_id_is_looked_at_in_the_same_way(
    client: Client, alice: Principal, streams: dict[str, tuple[str, str]], cursor: str
) -> None:
    with client(alice) as http:
        assert http.get(streams["run"][0], headers={"Last-Event-ID": cursor}).status_code == 400


@pytest.mark.parametrize("which", ["run", "response"])
def test_mallory_finds_nothing_at_any_cursor(
    client: Client, mallory: Principal, streams: dict[str, tuple[str, str]], which: str
) -> None:
    path, name = streams[which]
    with client(mallory) as http:
        for cursor in ("0", "1", "100000"):
            assert http.get(path, params={**httpx.URL(path).params, name: cursor}).status_code == 404
