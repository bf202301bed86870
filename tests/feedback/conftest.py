from collections.abc import Callable

import pytest

from agents.models import Agent, Message, Run
from agents.runs.records import add_message
from feedback import limits
from llm.messages import Text

MakeAnswer = Callable[..., Message]


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
