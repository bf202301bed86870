"""A real `manage.py up` with a home and a port of its own, for the tests that start real processes."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx

from atom.supervisor.parts import free_port

ROOT = Path(__file__).resolve().parents[2]
MANAGE = [sys.executable, str(ROOT / "manage.py")]
# A busy machine may take long over the start of seven processes.
READY_WITHIN_S = 60.0


def wait_until(true: Callable[[], object], within_s: float, what: str) -> None:
    deadline = time.monotonic() + within_s
    while not true():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s:g} s: {what}")
        time.sleep(0.05)


class Instance:
    """One ATOM_HOME: started, asked, stopped, started again."""

    def __init__(self, home: Path, **settings: str) -> None:
        self.home = home
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        inherited = {
            name: value for name, value in os.environ.items() if name not in {"DATABASE_URL", "REDIS_URL", "ATOM_ENV"}
        }
        own = {"ATOM_HOME": str(home), "PORT": str(self.port), "DJANGO_SETTINGS_MODULE": "atom.settings"}
        self.environment = inherited | own | settings
        self.log = home.with_suffix(".log")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, command: Sequence[str] = (*MANAGE, "up")) -> None:
        """Return when it is ready."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=self.environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        wait_until(lambda: self.readiness() == 200 or self.has_ended(), READY_WITHIN_S, "ready")
        assert not self.has_ended(), self.log.read_text()[-4000:]

    def has_ended(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    def readiness(self) -> int | None:
        """The status of `/readyz`, None when nobody answers."""
        try:
            return httpx.get(f"{self.url}/readyz", timeout=5, trust_env=False).status_code
        except httpx.HTTPError:
            return None

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """The supervisor alone, as an out-of-memory killer would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def stop(self, within_s: float = 30) -> int:
        """Its exit status after SIGTERM."""
        assert self.process is not None
        self.signal(signal.SIGTERM)
        return self.process.wait(within_s)

    def credentials(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.home / "credentials.json").read_text())
        return found

    def runtime(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.home / "runtime.json").read_text())
        return found

    def manage(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """A command beside it."""
        environment = self.environment | settings
        return subprocess.run(
            [*MANAGE, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
        )

    def _holds(self, link: Path) -> bool:
        return link.readlink().is_relative_to(self.home)

    def processes(self, word: str = "") -> list[int]:
        """The ids of all processes that live on this home and whose command line has `word` in it."""
        mark = f"ATOM_HOME={self.home}\0".encode()
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                # The store writes its title over its environment, but it works in the home.
                is_ours = mark in (folder / "environ").read_bytes() + b"\0" or self._holds(folder / "cwd")
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            # A zombie has no command line any more.
            if is_ours and command and word in command:
                found.append(int(folder.name))
        return found
