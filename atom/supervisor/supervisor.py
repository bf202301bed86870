"""Starts the parts in the order in which they need each other, and ends them in the reverse one."""

import asyncio
import contextlib
import fcntl
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
from django.conf import settings

from atom.ground.home import write_private
from atom.supervisor import parts
from atom.supervisor.children import Child, Part, say
from atom.supervisor.errors import CannotStart
from atom.supervisor.make import make_was_stopped

WEB_READY_WITHIN_S = 90.0


@contextlib.contextmanager
def home_lock(home: Path) -> Iterator[None]:
    """One `up` for each ATOM_HOME."""
    try:
        home.mkdir(parents=True, exist_ok=True)
        file = (home / "up.lock").open("a")
    except OSError as exc:
        raise CannotStart(
            f"{home} cannot be written ({exc.strerror}).", "Give yourself the right, or set ATOM_HOME."
        ) from exc
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            raise CannotStart(f"another `up` runs on {home}.", "Stop it, or set ATOM_HOME and PORT.") from exc
        yield


class Supervisor:
    """One `up`: everything it started, in order."""

    def __init__(self, listening: socket.socket, *, banner: str) -> None:
        self.listening = listening
        self.banner = banner
        self.children: list[Child] = []
        self._stop = asyncio.Event()
        self._signals = 0

    async def run(self) -> None:
        """Start, serve until SIGTERM or SIGINT, drain. Raises CannotStart."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal)
        starting = asyncio.create_task(self._start())
        stopping = asyncio.create_task(self._stop.wait())
        watching = asyncio.create_task(self._watch_make())
        try:
            await asyncio.wait([starting, stopping], return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
                say("atom", self.banner)
                await stopping
        finally:
            for task in (starting, stopping, watching):
                task.cancel()
            await self._end()

    def _on_signal(self) -> None:
        self._signals += 1
        self._stop.set()
        if self._signals > 1:
            for child in self.children:
                child.kill()

    async def _watch_make(self) -> None:
        await make_was_stopped()
        self._stop.set()

    async def _launch(self, part: Part) -> None:
        child = Child(part)
        self.children.append(child)
        await child.start()

    async def _start(self) -> None:
        known: dict[str, str] = {}
        if os.environ.get("REDIS_URL"):
            known["REDIS_URL"] = os.environ["REDIS_URL"]
            if not await parts.reach_store(known["REDIS_URL"], 5):
                raise CannotStart("the store at REDIS_URL does not answer.", "Start it, or correct REDIS_URL.")
        else:
            store, known["REDIS_URL"] = parts.store_part()
            await self._launch(store)
        model_ready: asyncio.Task[None] | None = None
        if settings.ATOM_LOCAL_MODEL.strip().lower() != "off":
            model, addresses = parts.model_part()
            known |= addresses
            model_ready = asyncio.create_task(self._launch(model))
        environment = {**os.environ, **known}
        write_private(
            settings.RUNTIME_FILE,
            {"pid": os.getpid(), "port": settings.PORT, "redis_url": known["REDIS_URL"], **_model_facts(known)},
        )
        for part in [*parts.web_parts(environment, self.listening), *parts.background_parts(environment)]:
            await self._launch(part)
        if model_ready is not None:
            await model_ready
        await self._wait_until_ready()

    async def _wait_until_ready(self) -> None:
        # Compared with, not bound to.
        host = "127.0.0.1" if settings.ATOM_BIND in {"0.0.0.0", "::"} else settings.ATOM_BIND  # noqa: S104
        failing = "web"
        async with httpx.AsyncClient(trust_env=False, timeout=5) as client:
            for _ in range(int(WEB_READY_WITHIN_S / 0.1)):
                with contextlib.suppress(httpx.HTTPError):
                    answer = await client.get(f"http://{host}:{settings.PORT}/readyz")
                    if answer.is_success:
                        return
                    failing = ", ".join(answer.json()["failing"])
                await asyncio.sleep(0.1)
        raise CannotStart(f"not everything came up (still missing: {failing}).", "Look at the log above.")

    async def _end(self) -> None:
        """The web first, because it drains; the store last, because everything else speaks to it."""
        # Else connections would queue at our own copy of the socket, with nobody left to accept them.
        self.listening.close()
        by_rank: dict[int, list[Child]] = {}
        for child in self.children:
            name = child.part.name
            rank = 0 if name.startswith("web") else 2 if name == "store" else 1
            by_rank.setdefault(rank, []).append(child)
        for rank in sorted(by_rank):
            await asyncio.gather(*(child.stop() for child in by_rank[rank]))
        settings.RUNTIME_FILE.unlink(missing_ok=True)


def _model_facts(known: dict[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in known.items() if name.startswith("LOCAL_")}
