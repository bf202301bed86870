from collections.abc import Callable, Iterator
from threading import Thread
from typing import Any

import pytest
from rest_framework.test import APIClient

from agents.models import Agent, Message, Run
from agents.runs.records import add_message
from atom.ground.principal import Principal
from feedback import limits
from llm.messages import Text
from tests.simulators.receiver import Receiver

MakeAnswer = Callable[..., Message]
API = Callable[..., APIClient]


@pytest.fixture(autouse=True)
def _forget_outages(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that another test took away is asked again at once."""
    monkeypatch.setattr(limits, "_away_until", 0.0)


@pytest.fixture
def make_answer(make_agent: Callable[..., Agent]) -> MakeAnswer:
    """An answered run of an agent of Alice's workspace; gives the answer."""

    def make(slug: str = "helper", *, is_answered: bool = True) -> Message:
        agent = Agent.objects.filter(slug=slug).first() or make_agent(slug)
        session = agent.sessions.create(workspace_id=agent.workspace_id, title="A talk")
        run = Run.objects.create(workspace_id=agent.workspace_id, agent=agent, session=session, status="succeeded")
        asked = add_message(run, Message.Role.USER, [Text("hi")])
        return add_message(run, Message.Role.ASSISTANT, [Text("hello")]) if is_answered else asked

    return make


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        thread = Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def hook(api: API, alice: Principal, receiver: Receiver) -> dict[str, Any]:
    made = api(alice).post("/api/feedback/webhooks/", {"url": receiver.url}, format="json")
    assert made.status_code == 201
    found: dict[str, Any] = made.json()
    return found
