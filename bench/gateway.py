"""`make bench`: streamed completions through Atom beside the same ones straight from their upstream.

Both are real processes on this machine: a simulated OpenAI, and a whole Atom (`manage.py up`, embedded database and
store, no local model) that calls it. Rounds alternate, so that whatever else the machine does meets both alike.
"""

import asyncio
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from atom.supervisor.parts import free_port

AT_ONCE = 16
ROUNDS = 3
ROUND_S = 4.0
WARM_UP_S = 1.0
READY_WITHIN_S = 40.0
STOP_WITHIN_S = 20.0
ROOT = Path(__file__).resolve().parents[1]
PROMPT = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"


class BenchFailed(Exception):
    """A part did not start; the message says which, and what it wrote."""


@dataclass(frozen=True, slots=True)
class Target:
    name: str
    url: str
    token: str
    model: str


@dataclass(slots=True)
class Figures:
    """What was measured of one target, all its rounds together; times in seconds."""

    first_token_s: list[float] = field(default_factory=list)
    whole_s: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    busy_s: float = 0.0

    @property
    def requests_per_s(self) -> float:
        return len(self.whole_s) / self.busy_s if self.busy_s else 0.0


# --- The two processes ------------------------------------------------------------------------------------
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
def upstream() -> Iterator[str]:
    """A simulated OpenAI in a process of its own; gives its base URL."""
    command = [sys.executable, "-m", "tests.simulators.openai"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            url = process.stdout.readline().strip() if process.stdout else ""
            if not url:
                raise BenchFailed("the simulated upstream did not start")
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
def gateway(home: Path, upstream_url: str) -> Iterator[tuple[str, str]]:
    """A whole Atom on a throw-away home; gives its URL and an access token."""
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
            yield url, credentials["access_token"]
        finally:
            stop(process)


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


# --- Measuring --------------------------------------------------------------------------------------------
async def ask_once(client: aiohttp.ClientSession, target: Target, figures: Figures) -> None:
    """One streamed completion, read to its end."""
    body = {"model": target.model, "stream": True, "messages": [{"role": "user", "content": PROMPT}]}
    headers = {"Authorization": f"Bearer {target.token}"}
    began = time.perf_counter()
    first: float | None = None
    last_line = b""
    try:
        async with client.post(f"{target.url}/chat/completions", json=body, headers=headers) as answer:
            if not answer.ok:
                figures.failures.append(f"{answer.status} {(await answer.text())[:200]}")
                return
            async for line in answer.content:
                if first is None and has_content(line):
                    first = time.perf_counter() - began
                last_line = line.strip() or last_line
    except (aiohttp.ClientError, TimeoutError) as exc:
        figures.failures.append(f"{type(exc).__name__}: {exc}")
        return
    if first is None or last_line != b"data: [DONE]":
        figures.failures.append(f"the stream ended with {last_line[:200]!r}")
        return
    figures.first_token_s.append(first)
    figures.whole_s.append(time.perf_counter() - began)


def has_content(line: bytes) -> bool:
    """Whether this line of the stream carries text; the first chunk only names the role."""
    if not line.startswith(b"data: {"):
        return False
    choices = json.loads(line[6:]).get("choices") or [{}]
    return bool(choices[0].get("delta", {}).get("content"))


async def one_round(client: aiohttp.ClientSession, target: Target, figures: Figures, seconds: float) -> None:
    """`AT_ONCE` clients, each asking again as soon as it has its answer."""
    began = time.perf_counter()

    async def keep_asking() -> None:
        while time.perf_counter() - began < seconds:
            seen_failures = len(figures.failures)
            await ask_once(client, target, figures)
            if len(figures.failures) > seen_failures:
                # Failing is quick: without a pause it would be measured as speed.
                await asyncio.sleep(0.1)

    await asyncio.gather(*(keep_asking() for _ in range(AT_ONCE)))
    figures.busy_s += time.perf_counter() - began


async def measure(targets: list[Target]) -> list[Figures]:
    """The figures of each target, in its order."""
    found = [Figures() for _ in targets]
    limits = aiohttp.ClientTimeout(total=15)
    async with aiohttp.ClientSession(timeout=limits, connector=aiohttp.TCPConnector(limit=AT_ONCE * 2)) as client:
        for target in targets:
            await one_round(client, target, Figures(), WARM_UP_S)
        for _ in range(ROUNDS):
            for target, figures in zip(targets, found, strict=True):
                await one_round(client, target, figures, ROUND_S)
    return found


# --- Telling ----------------------------------------------------------------------------------------------
def percentile(values: list[float], percent: int) -> float:
    """The `percent`-th percentile in milliseconds."""
    if len(values) < 2:
        return float("nan")
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1] * 1000


def rows_of(figures: Figures) -> dict[str, float]:
    return {
        "requests/s": figures.requests_per_s,
        "first token p50, ms": percentile(figures.first_token_s, 50),
        "first token p95, ms": percentile(figures.first_token_s, 95),
        "whole answer p50, ms": percentile(figures.whole_s, 50),
        "whole answer p95, ms": percentile(figures.whole_s, 95),
    }


def tell(targets: list[Target], found: list[Figures]) -> None:
    """The table: each figure of both, and Atom's as a multiple of the upstream's."""
    print(f"streamed /v1/chat/completions, {AT_ONCE} at once, {ROUNDS} alternating rounds of {ROUND_S:.0f} s\n")
    print(f"{'':24}{targets[0].name:>14}{targets[1].name:>14}{'ratio':>10}")
    direct, through = (rows_of(figures) for figures in found)
    for name, value in direct.items():
        ratio = through[name] / value if value else float("nan")
        print(f"{name:24}{value:>14.1f}{through[name]:>14.1f}{ratio:>10.2f}")
    print(f"{'answers':24}{len(found[0].whole_s):>14}{len(found[1].whole_s):>14}")
    print(f"{'failures':24}{len(found[0].failures):>14}{len(found[1].failures):>14}")


def main() -> int:
    # A bench that is told to go takes its two processes with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="atom-bench-") as folder:
        try:
            with upstream() as upstream_url, gateway(Path(folder) / "home", upstream_url) as (url, token):
                targets = [
                    Target("upstream", upstream_url, "simulated", "gpt-4o-mini"),
                    Target("through Atom", f"{url}/v1", token, "openai/gpt-4o-mini"),
                ]
                found = asyncio.run(measure(targets))
        except BenchFailed as exc:
            print(f"bench: {exc}", file=sys.stderr)
            return 1
    tell(targets, found)
    failures = [failure for figures in found for failure in figures.failures]
    for failure in failures[:5]:
        print(f"failed: {failure}", file=sys.stderr)
    # Figures are only figures: what fails the bench is an answer that did not come whole.
    return 1 if failures or not all(figures.whole_s for figures in found) else 0


if __name__ == "__main__":
    sys.exit(main())
