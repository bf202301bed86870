"""A child process that is started, watched, restarted with back-off, and stopped."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

BACK_OFF_FIRST_S = 0.5
BACK_OFF_MOST_S = 30.0
# A child that lived this long starts over with the shortest pause.
HEALTHY_AFTER_S = 60.0
NAME_WIDTH = 8
ROOT = str(Path(__file__).resolve().parents[2])


@dataclass(frozen=True, slots=True)
class Part:
    """What to run. `ready` returns once it serves; `stdin` is written to it and closed (secrets stay out of `ps`)."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    ready: Callable[[], Awaitable[None]] | None = None
    stdin: bytes | None = None
    pass_fds: tuple[int, ...] = ()
    stop_within_s: float = 10.0


def _found_from_anywhere(environment: Mapping[str, str]) -> dict[str, str]:
    """`environment` in which Python finds our modules, whatever the folder in which `up` was called."""
    path = [ROOT, *filter(None, [environment.get("PYTHONPATH")])]
    return {**environment, "PYTHONPATH": os.pathsep.join(path)}


def say(name: str, line: str) -> None:
    """One line of the log, behind the name of who said it."""
    sys.stdout.write(f"{name:<{NAME_WIDTH}}| {line}\n")
    sys.stdout.flush()


class Child:
    def __init__(self, part: Part) -> None:
        self.part = part
        self.process: asyncio.subprocess.Process | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._is_stopping = False

    async def start(self) -> None:
        """Start it, keep it running from now on, and return when it is ready."""
        await self._spawn()
        self._keeper = asyncio.create_task(self._keep())
        if self.part.ready is not None:
            await self.part.ready()

    async def _spawn(self) -> None:
        part = self.part
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "atom.supervisor.shim",
            *part.command,
            env=_found_from_anywhere(part.environment),
            stdin=asyncio.subprocess.PIPE if part.stdin is not None else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            pass_fds=part.pass_fds,
            # Ctrl-C at the terminal is for the supervisor, which stops its children in order.
            start_new_session=True,
        )
        if part.stdin is not None and self.process.stdin is not None:
            self.process.stdin.write(part.stdin)
            await self.process.stdin.drain()
            self.process.stdin.close()

    async def _keep(self) -> None:
        """Pass its log on; when it ends without being asked to, start it again."""
        pause = BACK_OFF_FIRST_S
        while self.process is not None:
            began = time.monotonic()
            await self._pump(self.process)
            code = await self.process.wait()
            if self._is_stopping:
                return
            if time.monotonic() - began > HEALTHY_AFTER_S:
                pause = BACK_OFF_FIRST_S
            say(self.part.name, f"ended with status {code}; starting it again in {pause:g} s")
            await asyncio.sleep(pause)
            pause = min(pause * 2, BACK_OFF_MOST_S)
            if self._is_stopping:
                return
            await self._spawn()
            # Stopped while it was being started: `stop` saw the one before it only.
            if self._is_stopping:
                self.kill()

    async def _pump(self, process: asyncio.subprocess.Process) -> None:
        rest = b""
        while process.stdout is not None and (chunk := await process.stdout.read(65_536)):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                say(self.part.name, line.decode("utf-8", "replace"))
        if rest:
            say(self.part.name, rest.decode("utf-8", "replace"))

    async def stop(self) -> None:
        """SIGTERM, then SIGKILL when it takes longer than its part allows."""
        self._is_stopping = True
        process, keeper = self.process, self._keeper
        if process is None or keeper is None:
            return
        self._signal(signal.SIGTERM)
        # Not `wait()` alone: a pool process of Celery's could hold the pipe open a moment longer.
        done, _ = await asyncio.wait([asyncio.ensure_future(process.wait())], timeout=self.part.stop_within_s)
        if not done:
            say(self.part.name, f"did not stop within {self.part.stop_within_s:g} s and was killed")
            self._signal(signal.SIGKILL)
            await process.wait()
        await asyncio.wait([keeper], timeout=2)
        keeper.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await keeper

    def kill(self) -> None:
        self._is_stopping = True
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        if self.process is not None and self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)
