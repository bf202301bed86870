"""System prompts stay readable by their version."""

from collections.abc import Callable
from importlib import import_module

from django.apps import apps

from agents.models import Agent, Run
from agents.prompts import Prompt
from agents.services import update_agent
from agents.variants import prompt_of, prompt_version

MakeAgent = Callable[..., Agent]


def began_with(agent: Agent, prompt: str) -> Run:
    return Run(agent=agent, workspace_id=agent.workspace_id, prompt_version=prompt_version(prompt))


def test_every_prompt_that_an_agent_ever_had_is_found_by_its_version(make_agent: MakeAgent) -> None:
    agent = make_agent(system_prompt="one")
    for prompt in ("two", "two", ""):
        update_agent(agent=agent, by="alice", system_prompt=prompt)
    assert [prompt_of(began_with(agent, text)) for text in ("one", "two", "", "three")] == ["one", "two", "", ""]
    assert Prompt.objects.filter(agent=agent).count() == 2


def test_another_agents_prompt_is_not_this_ones(make_agent: MakeAgent) -> None:
    make_agent("other", system_prompt="theirs")
    assert prompt_of(began_with(make_agent(), "theirs")) == ""


def test_an_upgrade_keeps_the_prompts_that_agents_have(make_agent: MakeAgent) -> None:
    agent = make_agent(system_prompt="older than the table")
    make_agent("silent")
    Prompt.objects.all().delete()
    import_module("agents.migrations.0011_prompts_by_version").keep_present_prompts(apps, None)
    assert prompt_of(began_with(agent, "older than the table")) == "older than the table"
    assert Prompt.objects.count() == 1
