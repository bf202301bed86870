"""Agents as the gate knows them: at once here after a change, without a query until then."""

from collections.abc import Callable

import pytest
import redis
from pytest_django import DjangoAssertNumQueries

from agents.models import Agent
from agents.roster import ROSTER
from agents.services import set_status
from atom.ground.principal import Principal
from atom.ground.snapshots import figures
from governance.judging import judge_action
from governance.known_agents import known_agent, known_by_slug
from governance.maturity import levels
from tests.governance.conftest import action_of


@pytest.fixture
def agent(make_agent: Callable[..., Agent], store: redis.Redis) -> Agent:
    return make_agent("intern", maturity="intern")


def test_what_is_known_of_an_agent_costs_no_query(
    agent: Agent, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    known_agent(agent.workspace_id, agent.pk)
    before = figures()["agents"].hits
    with django_assert_num_queries(0):
        known = known_agent(agent.workspace_id, agent.pk)
        chain = known_by_slug(agent.workspace_id, ["intern", "nobody"])
    assert known == agent
    assert known is not None
    assert (known.slug, known.maturity, known.status) == ("intern", "intern", "active")
    assert list(chain) == ["intern"]
    assert figures()["agents"].hits == before + 2


def test_a_change_of_level_or_status_is_known_here_at_once(agent: Agent, alice: Principal) -> None:
    assert judge_action(action_of(agent, "read")).decision == "allow"
    set_status(agent=agent, status="paused", reason="", by="alice")
    assert judge_action(action_of(agent, "read")).rule == "agent-paused"
    set_status(agent=agent, status="active", reason="", by="alice")
    assert judge_action(action_of(agent, "read")).decision == "allow"
    levels.demote(agent=agent, principal=alice, to="student", reason="")
    assert judge_action(action_of(agent, "read")).rule.startswith("matrix:student")
    agent.refresh_from_db()
    agent.status = "retired"
    agent.save()
    assert judge_action(action_of(agent, "read")).rule == "agent-retired"


def test_a_new_agent_is_known_at_once_and_a_deleted_one_no_more(agent: Agent, make_agent: Callable[..., Agent]) -> None:
    known_agent(agent.workspace_id, agent.pk)
    new = make_agent("new")
    assert new.pk in ROSTER.get(agent.workspace_id).by_id
    pk = new.pk
    new.delete()
    assert known_agent(agent.workspace_id, pk) is None


def test_an_agent_of_another_workspace_is_not_known(agent: Agent, mallory: Principal) -> None:
    assert known_agent(mallory.workspace_id, agent.pk) is None
    assert known_by_slug(mallory.workspace_id, ["intern"]) == {}


def test_what_moves_confidence_alone_forgets_nothing(
    agent: Agent, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    known_agent(agent.workspace_id, agent.pk)
    agent.save(update_fields=["confidence"])
    with django_assert_num_queries(0):
        known_agent(agent.workspace_id, agent.pk)
