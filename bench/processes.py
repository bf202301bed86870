"""What `bench.gateway` measures: real processes on loopback, ended with the bench."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from atom.supervisor.parts import free_port

READY_WITHIN_S = 60.0
STOP_WITHIN_S = 20.0
ROOT = Path(__file__).resolve().parents[1]


class BenchFailed(Exception):
    """A part did not start; the message says which, and what it wrote."""


@dataclass(frozen=True, slots=True)
class Target:
    """Who is asked: `url` up to `/v1`, and as whom."""

    name: str
    url: str
    token: str
    model: str


def stop(process: subprocess.Popen[str]) -> None:
    """End a process that this bench started, and only that one."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def module(name: str, *arguments: str) -> Iterator[str]:
    """A module of the bench as a process; gives the URL that it prints first."""
    command = [sys.executable, "-m", name, *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            url = process.stdout.readline().strip() if process.stdout else ""
            if not url:
                raise BenchFailed(f"{name} did not start")
            yield url
        finally:
            stop(process)


def environment_of(home: Path, port: int, upstream_url: str) -> dict[str, str]:
    """Atom's own parts only: an installation that this machine's environment or .env names is left alone."""
    ours = {name: value for name, value in os.environ.items() if not name.endswith(("_API_KEY", "_BASE_URL"))}
    return {
        **ours,
        "ATOM_HOME": str(home),
        "ATOM_ENV": "development",
        "PORT": str(port),
        "DATABASE_URL": "",
        "REDIS_URL": "",
        "WEB_CONCURRENCY": "1",
        "ATOM_LOCAL_MODEL": "off",
        "ATOM_ALLOWED_PROVIDER_HOSTS": "127.0.0.1",
        "OPENAI_BASE_URL": upstream_url,
        "OPENAI_API_KEY": "simulated",
        "ATOM_LOG_LEVEL": "WARNING",
    }


@contextlib.contextmanager
def atom(home: Path, upstream_url: str) -> Iterator[Target]:
    """A whole Atom (`manage.py up`, one web process, embedded database and store) on a throw-away home."""
    port, log = free_port(), home / "up.log"
    home.mkdir()
    environment = environment_of(home, port, upstream_url)
    command = [sys.executable, str(ROOT / "manage.py"), "up"]
    with (
        log.open("w") as output,
        subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT, text=True) as process,
    ):
        try:
            url = f"http://127.0.0.1:{port}"
            if not asyncio.run(is_ready(url, process)):
                raise BenchFailed(f"Atom did not come up:\n{log.read_text()[-3000:]}")
            credentials = json.loads((home / "credentials.json").read_text())
            yield Target("Atom", f"{url}/v1", credentials["access_token"], "openai/gpt-4o-mini")
        finally:
            stop(process)


@contextlib.contextmanager
def targets() -> Iterator[tuple[Target, Target, Target]]:
    """An upstream, a forwarder before it, and a whole Atom before it, until the bench ends or is told to."""
    # A bench that is told to go takes its processes with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with (
        tempfile.TemporaryDirectory(prefix="atom-bench-") as folder,
        module("bench.upstream") as upstream_url,
        module("bench.forwarder", upstream_url) as forwarder_url,
        atom(Path(folder) / "home", upstream_url) as governed,
    ):
        upstream = Target("upstream", upstream_url, "simulated", "gpt-4o-mini")
        yield upstream, Target("forwarder", forwarder_url, "simulated", "gpt-4o-mini"), governed


async def is_ready(url: str, process: subprocess.Popen[str]) -> bool:
    deadline = time.monotonic() + READY_WITHIN_S
    async with aiohttp.ClientSession() as client:
        while time.monotonic() < deadline and process.poll() is None:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with client.get(f"{url}/readyz") as answer:
                    if answer.ok:
                        return True
            await asyncio.sleep(0.1)
    return False
