"""`manage.py doctor`: one line for each thing that Atom needs, and the cure where it is missing or wrong."""

import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import redis
from django.conf import settings
from django.core.checks import ERROR, run_checks
from django.core.management.base import BaseCommand
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor

from atom.ground import audit
from atom.ground.errors import AtomError
from atom.ground.health import WORKER_KEY
from atom.ground.home import read_json
from atom.supervisor.model_file import NoModel, model_file
from llm.models import ProviderKey
from llm.registry import LOCAL, PROVIDERS

OK, NOTE, WRONG = "ok", "note", "WRONG"
ANSWER_WITHIN_S = 5.0
START = "Start it with `make up`."


@dataclass(frozen=True, slots=True)
class Finding:
    state: str
    subject: str
    text: str


class Command(BaseCommand):
    help = "Say what is missing or wrong here, and how to mend it. Exit status 1 when something is wrong."
    # They are one of the findings, not a reason to stop.
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        is_wrong = False
        for finding in examine():
            is_wrong |= finding.state == WRONG
            self.stdout.write(f"{finding.state:<6}{finding.subject:<10}{finding.text}")
        if is_wrong:
            sys.exit(1)


def examine() -> Iterator[Finding]:
    """All findings, in the order in which one would mend them."""
    runtime = read_json(settings.RUNTIME_FILE)
    is_running = is_alive(runtime.get("pid"))
    yield python()
    yield from settings_checks()
    yield home()
    yield running(is_running)
    database = database_state(is_running)
    yield database
    if database.state == OK:
        yield from provider_keys()
        yield audit_trail()
    yield from environment_keys()
    yield from store_and_worker(is_running)
    if is_running:
        yield web(int(runtime["port"]))
    yield local_model()


def is_alive(pid: int | None) -> bool:
    if pid is None:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def python() -> Finding:
    """Only which: one that is too old gets no further than `make`, which says so."""
    return Finding(OK, "python", ".".join(str(part) for part in sys.version_info[:3]))


def settings_checks() -> Iterator[Finding]:
    found = run_checks()
    for message in found:
        state = WRONG if message.level >= ERROR else NOTE
        yield Finding(state, "settings", f"{message.msg} {message.hint or ''}".strip())
    if not found:
        yield Finding(OK, "settings", f"for {settings.ATOM_ENV}")


def home() -> Finding:
    try:
        settings.ATOM_HOME.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=settings.ATOM_HOME):
            return Finding(OK, "home", str(settings.ATOM_HOME))
    except OSError as exc:
        cure = "Give yourself the right, or set ATOM_HOME."
        return Finding(WRONG, "home", f"{settings.ATOM_HOME} cannot be written ({exc.strerror}). {cure}")


def running(is_running: bool) -> Finding:
    if is_running:
        return Finding(OK, "atom", "runs here")
    return Finding(NOTE, "atom", "is not running here: start it with `make up`.")


def database_state(is_running: bool) -> Finding:
    """Reachable and migrated; a database that is not made yet is no fault of one that never started."""
    name = settings.DATABASES["default"]["NAME"]
    if connection.vendor == "sqlite" and not os.path.exists(name):  # noqa: PTH110  # text or a path
        return Finding(WRONG if is_running else NOTE, "database", f"is not made yet. {START}")
    try:
        executor = MigrationExecutor(connection)
        missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except DatabaseError as exc:
        cure = "Start it, or correct DATABASE_URL."
        return Finding(WRONG, "database", f"does not answer ({type(exc).__name__}). {cure}")
    if missing:
        cure = "`make up` applies them."
        return Finding(WRONG if is_running else NOTE, "database", f"{len(missing)} migrations are missing. {cure}")
    return Finding(OK, "database", f"{connection.vendor}, migrated")


def provider_keys() -> Iterator[Finding]:
    """Whether the workspaces' sealed keys open under today's key ring."""
    rows = list(ProviderKey.objects.all())
    shut = [row for row in rows if not opens(row)]
    for row in shut:
        cure = "Put its old key back into ATOM_ENCRYPTION_KEYS, or enter the secret again."
        yield Finding(WRONG, "keys", f"the key '{row.name}' for {row.provider} does not open. {cure}")
    if not shut:
        count = f"{len(rows)}, of which every one opens" if rows else "none"
        yield Finding(OK, "keys", f"of the workspaces: {count}")


def opens(row: ProviderKey) -> bool:
    try:
        row.secret()
    except AtomError:
        return False
    return True


def environment_keys() -> Iterator[Finding]:
    """By name only."""
    names = [row.key_env for row in PROVIDERS.values() if row.name != LOCAL and os.environ.get(row.key_env)]
    yield Finding(OK if names else NOTE, "keys", f"in the environment: {', '.join(names) or 'none'}")


def audit_trail() -> Finding:
    breaks = audit.verify_all()
    if breaks:
        places = "; ".join(f"workspace {at.workspace_id}, entry {at.seq}: {at.problem}" for at in breaks)
        return Finding(WRONG, "audit", f"{places}. Restore the database from a backup, and ask who had access.")
    return Finding(OK, "audit", "every chain is whole")


def store_and_worker(is_running: bool) -> Iterator[Finding]:
    if not settings.REDIS_URL or not (is_running or os.environ.get("REDIS_URL")):
        yield Finding(NOTE, "store", f"the embedded one is not running. {START}")
        return
    try:
        with redis.Redis.from_url(
            settings.REDIS_URL, socket_timeout=ANSWER_WITHIN_S, socket_connect_timeout=ANSWER_WITHIN_S
        ) as store:
            has_worker = bool(store.exists(WORKER_KEY))
    except (redis.RedisError, OSError, ValueError) as exc:
        cure = "Start it, or correct REDIS_URL."
        yield Finding(WRONG, "store", f"does not answer ({type(exc).__name__}). {cure}")
        return
    yield Finding(OK, "store", "answers")
    if has_worker:
        yield Finding(OK, "worker", "has just said that it lives")
    else:
        yield Finding(WRONG if is_running else NOTE, "worker", "no sign of life. Look at its log; restart Atom.")


def web(port: int) -> Finding:
    host = "127.0.0.1" if settings.ATOM_BIND in {"0.0.0.0", "::"} else settings.ATOM_BIND  # noqa: S104  # compared with
    name = f"[{host}]" if ":" in host else host
    try:
        answer = httpx.get(f"http://{name}:{port}/readyz", timeout=ANSWER_WITHIN_S, trust_env=False)
    except httpx.HTTPError as exc:
        return Finding(WRONG, "web", f"port {port} does not answer ({type(exc).__name__}). Look at the log of `up`.")
    if answer.is_success:
        return Finding(OK, "web", f"ready on port {port}")
    failing = ", ".join(answer.json()["failing"])
    return Finding(WRONG, "web", f"answers on port {port}, but is not ready: {failing}. Look at the log of `up`.")


def local_model() -> Finding:
    if settings.ATOM_LOCAL_MODEL.strip().lower() == "off":
        return Finding(NOTE, "model", "the local one is off (ATOM_LOCAL_MODEL)")
    try:
        return Finding(OK, "model", model_file().name)
    except NoModel as exc:
        cure = "Correct ATOM_LOCAL_MODEL, set it to off, or install again with `make up`."
        return Finding(WRONG, "model", f"{exc}. {cure}")
