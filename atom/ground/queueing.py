"""Asking the worker to do something soon. What could not be asked is found by the schedule."""

import time
from typing import Any

import structlog
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

log = structlog.get_logger(__name__)

# A broker that hangs costs whoever asks it some seconds. After that nobody asks for this long, or everybody who comes
# meanwhile would wait one after the other.
LOOK_AWAY_S = 20.0

_away_until = 0.0


def queue(task: Any, *arguments: str) -> None:
    """Ask for one run of this task, unless the broker is away. Only for what a schedule finds by itself."""
    global _away_until  # noqa: PLW0603  # one memory a process
    if time.monotonic() < _away_until:
        return
    try:
        task.apply_async(arguments, retry=False)
    except (OperationalError, RedisError, OSError):
        _away_until = time.monotonic() + LOOK_AWAY_S
        log.warning("task_not_queued", task=task.name, arguments=arguments)
