"""What another process knows of the policy in force and of agents: from memory, and within a second when it changes."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from subprocess import PIPE
from typing import Any

import pytest
import redis
from django.conf import settings
from django.db import connection, transaction

from agents.models import Agent
from agents.services import set_status
from atom.ground.principal import Principal
from governance.maturity import levels
from governance.maturity.confidence import locked
from governance.policies import services

pytestmark = pytest.mark.django_db(transaction=True)
WITHIN_S = 1.0
CHANGES = 5


@contextmanager
def watching(store_url: str, *what: object) -> Iterator["subprocess.Popen[str]"]:
    database = str(connection.settings_dict["NAME"])
    command = [sys.executable, "-m", "tests.governance.watcher", database, *map(str, what)]
    environment = {**os.environ, "REDIS_URL": store_url, "DJANGO_SETTINGS_MODULE": "tests.settings"}
    environment["ATOM_SECRET_KEY"] = settings.SECRET_KEY
    with subprocess.Popen(command, env=environment, text=True, stdin=PIPE, stdout=PIPE) as running:
        yield running
        running.communicate()


@pytest.fixture
def other_process(alice: Principal, store: redis.Redis, store_url: str) -> Iterator["subprocess.Popen[str]"]:
    with watching(store_url, alice.workspace_id) as running:
        yield running


def next_line(process: "subprocess.Popen[str]") -> dict[str, Any]:
    assert process.stdout is not None
    found: dict[str, Any] = json.loads(process.stdout.readline())
    return found


def test_a_second_process_answers_from_memory_and_sees_each_change_within_a_second(
    other_process: "subprocess.Popen[str]", alice: Principal
) -> None:
    assert next_line(other_process)["seen"] is None
    took_s = []
    for number in range(1, CHANGES + 1):
        rule = {"name": f"rule-{number}", "actions": ["purge"], "decision": "deny"}
        version = services.save_policy(principal=alice, name="house", document={"version": 1, "rules": [rule]})
        # Somewhere within the half second in which nobody looks.
        time.sleep(0.1 * number)
        services.activate(policy=version.policy, principal=alice)
        committed_at = time.time()
        line = next_line(other_process)
        assert line["seen"] == f"house@{number}"
        took_s.append(line["at"] - committed_at)
    # The median, because a busy machine may hold any one of them up.
    assert median(took_s) <= WITHIN_S, took_s
    assert line["hits"] > 10 * line["loads"]


def test_a_second_process_sees_an_agent_promoted_demoted_and_paused_within_a_second(
    store: redis.Redis, store_url: str, alice: Principal, make_agent: Callable[..., Agent]
) -> None:
    agent = make_agent("intern", maturity="intern")
    with watching(store_url, alice.workspace_id, agent.pk) as process:
        assert next_line(process)["seen"] == "intern active"
        took_s = []
        for number, change in enumerate(CHANGED, start=1):
            time.sleep(0.1 * number)
            change(agent)
            agent.refresh_from_db()
            committed_at = time.time()
            line = next_line(process)
            assert line["seen"] == f"{agent.maturity} {agent.status}"
            took_s.append(line["at"] - committed_at)
        assert median(took_s) <= WITHIN_S, took_s
        assert line["hits"] > 10 * line["loads"]


def to_level(level: str) -> Callable[[Agent], object]:
    def move(agent: Agent) -> None:
        with transaction.atomic():
            levels.set_level(locked(agent.pk), level, reason="", by="alice", evidence={})

    return move


def to_status(status: str) -> Callable[[Agent], object]:
    return lambda agent: set_status(agent=agent, status=status, reason="", by="alice")


CHANGED = [to_level("supervised"), to_level("student"), to_status("paused"), to_status("active"), to_status("retired")]
