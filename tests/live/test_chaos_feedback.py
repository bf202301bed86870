"""A minute without the broker while people say what they think: everybody is answered, and nothing is lost."""

import concurrent.futures
import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.events import bearer
from tests.live.instance import Instance, wait_until

pytestmark = [pytest.mark.chaos, pytest.mark.xdist_group("live"), pytest.mark.timeout(300)]

FEEDBACKS = 500
OUTAGE_S = 60.0
PEOPLE = 10
# Answers to judge, written down as a run leaves them.
ANSWERS = """
from agents.models import Agent, Message, Run
from agents.runs.records import add_message
from llm.messages import Text
agent = Agent.objects.get(slug="direct")
for _ in range({count}):
    run = Run.objects.create(workspace_id=agent.workspace_id, agent=agent, status="succeeded")
    print("answer", add_message(run, Message.Role.ASSISTANT, [Text("hello")]).pk)
"""


@pytest.fixture(scope="module")
def atom(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    instance = Instance(tmp_path_factory.mktemp("feedback") / "home", ATOM_LOCAL_MODEL="off")
    instance.start()
    try:
        yield instance
    finally:
        instance.kill()


def answers(atom: Instance) -> list[str]:
    told = atom.manage("shell", "-c", ANSWERS.format(count=FEEDBACKS))
    found = [line.split()[1] for line in told.stdout.splitlines() if line.startswith("answer ")]
    assert len(found) == FEEDBACKS, told.stderr[-2000:]
    return found


def test_a_minute_without_the_broker_loses_none_of_five_hundred_feedbacks(atom: Instance) -> None:
    with httpx.Client(
        base_url=atom.url, headers=bearer(atom.credentials()["access_token"]), timeout=90, trust_env=False
    ) as client:
        # The first call makes the agent `direct`.
        assert client.post("/api/sessions/", json={"agent": "direct", "title": "a talk"}).status_code == 201
        waiting = answers(atom)
        [store] = atom.processes("valkey-server")
        begun = time.monotonic()
        os.kill(store, signal.SIGSTOP)
        try:

            def say(place: int) -> int:
                # Spread over the whole outage.
                time.sleep(max(0.0, begun + OUTAGE_S * place / FEEDBACKS - time.monotonic()))
                body = {"message_id": waiting[place], "thumb": "up" if place % 4 else "down"}
                return client.post("/api/feedback/", json=body).status_code

            with concurrent.futures.ThreadPoolExecutor(PEOPLE) as pool:
                statuses = list(pool.map(say, range(FEEDBACKS)))
            time.sleep(max(0.0, begun + OUTAGE_S - time.monotonic()))
        finally:
            os.kill(store, signal.SIGCONT)
        assert statuses == [201] * FEEDBACKS

        def figures() -> dict[str, Any]:
            found: dict[str, Any] = client.get("/api/feedback/analytics/").json()
            return found

        wait_until(lambda: figures().get("total") == FEEDBACKS, 90, "everything is in the figures")
        assert (figures()["positive"], figures()["negative"]) == (375, 125)
    recounted = atom.manage("feedback", "recount", "--check")
    assert recounted.returncode == 0, recounted.stdout
