"""What the tests of governance share: a tool behind a real socket, the broker's queue, an approval to decide."""

import base64
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import UUID

import pytest
import redis
from kombu import pools

from agents.gate import Action
from agents.models import Agent, Maturity, Run
from agents.runs import records
from atom.celery import app
from governance.judging import judge_action
from governance.models import Approval
from llm.messages import Message, Request, Text, ToolCall

DEAD_BROKER = "redis://127.0.0.1:1/0"


class Tool(ThreadingHTTPServer):
    """Somebody's HTTP tool, with a ledger of its calls; `status` is what it answers with."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.calls: list[tuple[str, Any]] = []
        self.status = 200

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/records"


class _Answer(BaseHTTPRequestHandler):
    server: Tool

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.calls.append((self.headers["Idempotency-Key"], json.loads(body)))
        self.send_response(self.server.status)
        self.send_header("Content-Length", "4")
        self.end_headers()
        self.wfile.write(b"gone")

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def tool() -> Iterator[Tool]:
    with Tool() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def use_broker(url: str) -> None:
    """Let Celery send to another broker from now on."""
    app.conf.update(broker_url=url)
    pools.reset()
    # Celery keeps the pools it once made, under names of its own.
    vars(app).update(_pool=None)
    vars(app.amqp).update(_producer_pool=None)


@pytest.fixture
def queued(all_queued: Callable[[], list[tuple[str, str]]]) -> Callable[[], list[tuple[str, str]]]:
    """What has been queued since the test began, but for what agents learn from it."""
    return lambda: [(task, row) for task, row in all_queued() if not task.startswith("governance.maturity.")]


@pytest.fixture
def all_queued(store: redis.Redis, store_url: str) -> Iterator[Callable[[], list[tuple[str, str]]]]:
    """What has been queued since the test began: the tasks' names and first arguments."""

    def read() -> list[tuple[str, str]]:
        found = []
        for raw in reversed(store.lrange("atom:celery:celery", 0, -1)):
            message = json.loads(raw)
            args = json.loads(base64.b64decode(message["body"]))[0]
            found.append((message["headers"]["task"], args[0] if args else ""))
        return found

    before = app.conf.broker_url
    use_broker(store_url)
    yield read
    use_broker(before)


@pytest.fixture
def intern(make_agent: Callable[..., Agent], tool: Tool) -> Agent:
    declared = {"name": "delete_record", "action": "delete", "kind": "http", "url": tool.url, "method": "POST"}
    return make_agent("intern", maturity=Maturity.INTERN, tools=[declared])


def action_of(agent: Agent, name: str = "delete", **given: Any) -> Action:
    values = {"arguments": {"id": 7}, **given}
    return Action(workspace_id=agent.workspace_id, agent_id=agent.id, name=name, **values)


@pytest.fixture
def ask(intern: Agent) -> Callable[..., Approval]:
    """An intern wants to delete: the pending approval."""

    def make(**given: Any) -> Approval:
        verdict = judge_action(action_of(intern, **given))
        return Approval.objects.select_related("agent").get(decision=verdict.decision_id)

    return make


@pytest.fixture
def waiting_run(intern: Agent) -> Run:
    """A run that is parked on one call of `delete_record`."""
    run = records.open_run(agent=intern, user_id=None, door="chat", model="m", parts=[Text("delete record 7")])
    call = ToolCall("call-1", "delete_record", '{"id": 7}')
    records.add_round(run.id, [call], [])
    asked = Request(model="m", messages=(Message("user", (Text("delete record 7"),)), Message("assistant", (call,))))
    records.park_run(run_id=run.id, request=asked)
    run.refresh_from_db()
    return run


def call_in(run_id: UUID) -> dict[str, Any]:
    """What belongs to a tool call that Atom runs."""
    return {"run_id": run_id, "tool": "delete_record", "call_id": "call-1", "is_run_by_atom": True}


@pytest.fixture
def run_approval(ask: Callable[..., Approval], waiting_run: Run) -> Approval:
    return ask(**call_in(waiting_run.id))
