"""kill -9 between a decision and its execution, and in the middle of one: it happens once, by the tool's own books."""

import json
import os
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from tests.events import bearer
from tests.live.calls import upstream_of
from tests.live.instance import Instance, wait_until
from tests.simulators.openai import OpenAISimulator

pytestmark = [pytest.mark.chaos, pytest.mark.xdist_group("live"), pytest.mark.timeout(300)]

# A lease, the sweeper's round after it, and a busy machine.
TAKEN_OVER_WITHIN_S = 150


class Records(ThreadingHTTPServer):
    """A tool that keeps the contract of Idempotency-Key: it deletes once per key, however often it is asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Delete)
        self.asked: list[str] = []
        self.deleted: dict[str, Any] = {}
        # While this is not set an answer is held back: the work is done, and nobody has heard.
        self.may_answer = threading.Event()
        self.may_answer.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/records"


class _Delete(BaseHTTPRequestHandler):
    server: Records

    def do_POST(self) -> None:
        key = self.headers["Idempotency-Key"]
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.deleted.setdefault(key, body)
        self.server.asked.append(key)
        self.server.may_answer.wait(60)
        try:
            self.send_response(200)
            self.send_header("Content-Length", "4")
            self.end_headers()
            self.wfile.write(b"gone")
        except OSError:
            pass

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def records() -> Iterator[Records]:
    with Records() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.may_answer.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def atom(new_instance: Callable[..., Instance], openai_simulator: OpenAISimulator) -> Instance:
    instance = new_instance(**upstream_of(openai_simulator.base_url, ATOM_ALLOWED_TOOL_HOSTS="127.0.0.1"))
    instance.start()
    return instance


@pytest.fixture
def http(atom: Instance) -> Iterator[httpx.Client]:
    headers = bearer(atom.credentials()["access_token"])
    with httpx.Client(base_url=atom.url, headers=headers, timeout=60, trust_env=False) as client:
        yield client


@pytest.fixture
def approval(http: httpx.Client, records: Records, openai_simulator: OpenAISimulator) -> str:
    """An intern's run waits for leave to delete record 7: the approval's id."""
    tool = {
        "name": "delete_record",
        "description": "Deletes a record.",
        "parameters": {"type": "object", "properties": {"id": {"type": "integer"}}},
        "action": "delete",
        "kind": "http",
        "url": records.url,
        "method": "POST",
    }
    made = {"name": "I", "slug": "deleter", "maturity": "intern", "models": ["openai/gpt-4o-mini"], "tools": [tool]}
    answer = http.post("/api/agents/", json=made)
    assert answer.status_code == 201, answer.text
    openai_simulator.will_call("delete_record", {"id": 7})
    openai_simulator.will_say("It is gone.")
    http.post("/api/agents/deleter/chat/", json={"message": "delete record 7"})
    [waiting] = http.get("/api/approvals/?status=pending").json()["results"]
    return str(waiting["id"])


def in_database(atom: Instance, approval: str) -> tuple[str, str | None]:
    """The approval's status, and since when a worker has it."""
    with sqlite3.connect(f"file:{atom.home / 'atom.sqlite3'}?mode=ro", uri=True, timeout=30) as database:
        asked = "SELECT status, claimed_at FROM governance_approval WHERE id = ?"
        found: tuple[str, str | None] = database.execute(asked, [approval.replace("-", "")]).fetchone()
        return found


def deleted_once(atom: Instance, http: httpx.Client, records: Records, approval: str) -> None:
    """In the end: executed, once by the tool's books, with an answer, and an audit trail that says so and is whole."""
    wait_until(lambda: in_database(atom, approval)[0] == "executed", TAKEN_OVER_WITHIN_S, "executed")
    assert records.deleted == {approval: {"id": 7}}
    assert set(records.asked) == {approval}
    wait_until(lambda: http.get("/api/runs/").json()["results"][0]["status"] == "succeeded", 60, "the run goes on")
    told = [row["event"] for row in http.get("/api/audit/", params={"id": approval}).json()["results"]]
    assert told == ["approval.executed", "approval.approved", "approval.requested"]
    assert http.get("/api/audit/verify/").json() == {"ok": True}


def test_a_web_process_killed_between_the_decision_and_its_dispatch_loses_nothing(
    atom: Instance, http: httpx.Client, records: Records, approval: str
) -> None:
    [store] = atom.processes("valkey-server")
    [web] = atom.processes("serve --fd")
    # With the store stopped, the decision is committed and its dispatch cannot get out.
    os.kill(store, signal.SIGSTOP)
    try:
        with ThreadPoolExecutor(1) as pool:
            path = f"/api/approvals/{approval}/approve/"
            answer = pool.submit(http.post, path, json={"revision": 1})
            wait_until(lambda: in_database(atom, approval)[0] == "approved", 60, "the decision is committed")
            os.kill(web, signal.SIGKILL)
            with pytest.raises(httpx.HTTPError):
                answer.result()
        assert in_database(atom, approval) == ("approved", None)
    finally:
        os.kill(store, signal.SIGCONT)
    wait_until(lambda: atom.readiness() == 200, 60, "the web is back")
    deleted_once(atom, http, records, approval)
    assert records.asked == [approval]


def test_a_worker_killed_in_the_middle_of_an_execution_is_taken_over_and_the_tool_does_it_once(
    atom: Instance, http: httpx.Client, records: Records, approval: str
) -> None:
    records.may_answer.clear()
    assert http.post(f"/api/approvals/{approval}/approve/", json={"revision": 1}).status_code == 200
    wait_until(lambda: records.asked, 30, "the tool is called")
    for pid in atom.processes("celery -A atom.celery --quiet worker"):
        os.kill(pid, signal.SIGKILL)
    records.may_answer.set()
    assert in_database(atom, approval)[0] == "approved"
    deleted_once(atom, http, records, approval)
    assert records.asked == [approval, approval]
