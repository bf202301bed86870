"""Whether the `make` that started us was told to stop.

GNU make hands SIGTERM on to what it runs, but a SIGINT sent to make alone only makes it wait for the end of its
recipe: its handler runs until then, with SIGINT blocked, and that is what can be seen from outside (on Linux).
"""

import asyncio
import os
import signal
from pathlib import Path

WATCH_EVERY_S = 0.3
# While make starts a process it blocks its signals for an instant; twice in a row is no such instant.
SEEN_BEFORE_SURE = 2
_SIGINT_BIT = 1 << (signal.SIGINT - 1)


async def make_was_stopped() -> None:
    """Return when make was interrupted or is gone; never, when it was not make that started this process."""
    parent, seen = os.getppid(), 0
    if not _is_make(parent):
        await asyncio.Event().wait()
    while seen < SEEN_BEFORE_SURE and os.getppid() == parent:
        seen = seen + 1 if blocked_signals(parent) & _SIGINT_BIT else 0
        await asyncio.sleep(WATCH_EVERY_S)


def blocked_signals(pid: int) -> int:
    """The mask of the signals that a process blocks; 0 where the system does not say."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1], 16) for line in lines if line.startswith("SigBlk:")), 0)


def _is_make(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip() in {"make", "gmake"}
    except OSError:
        return False
