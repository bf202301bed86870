"""The seam to tools that Atom runs: what a tool is, how its arguments are checked, and the one way to run it."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from agents.tools.schemas import problem_with
from atom.ground.errors import AtomError

# The longest that any tool may take, and the most that a model may be told by one.
LONGEST_S = 60.0
MOST_BYTES = 1_000_000
REMOVED = "[secret removed]"
# A shorter text may stand in an answer by chance.
LEAST_SECRET_CHARS = 8
# A tool may say more often how far it is; nobody could read it.
TELL_EVERY_S = 0.25
MAX_TOLD_CHARS = 500


class ToolFailed(AtomError):
    code = "tool_failed"
    status = 502


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a tool says that it is; `total` is None where it does not know."""

    progress: float
    total: float | None = None
    message: str = ""


Tell: TypeAlias = Callable[[Progress], Awaitable[None]]


class OwnTool(Protocol):
    """A tool that Atom runs, whatever it is behind. `complexity` replaces the catalogue's; None leaves it."""

    @property
    def name(self) -> str: ...

    @property
    def description(self) -> str: ...

    @property
    def parameters(self) -> dict[str, Any]: ...

    @property
    def action(self) -> str: ...

    @property
    def complexity(self) -> int | None: ...

    @property
    def is_untrusted(self) -> bool: ...

    async def run(self, arguments: dict[str, Any], *, key: str, tell: Tell) -> str:
        """The result's text. `key` is the same for repetitions of one call. Raises AtomError in our words."""
        ...


async def silent(progress: Progress) -> None:
    """For whoever does not listen to progress."""


def problem_with_arguments(tool: OwnTool, arguments: dict[str, Any]) -> str:
    """Why the arguments do not fit the tool, for the model; empty when they do."""
    problem = problem_with(arguments, tool.parameters)
    return f"The arguments do not fit the tool {tool.name}: {problem}" if problem else ""


async def run_tool(tool: OwnTool, arguments: dict[str, Any], *, key: str, tell: Tell = silent) -> str:
    """Check the arguments, which people may have edited since the model wrote them, and run the tool."""
    if problem := problem_with_arguments(tool, arguments):
        raise ToolFailed(problem)
    return _storable(await tool.run(arguments, key=key, tell=_paced(tell)))


def _paced(tell: Tell) -> Tell:
    """The news that come at least TELL_EVERY_S after the ones before; others are dropped."""
    last = float("-inf")

    async def told(news: Progress) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= TELL_EVERY_S:
            last = now
            await tell(Progress(news.progress, news.total, _storable(news.message[:MAX_TOLD_CHARS])))

    return told


def without(secrets: list[str], text: str) -> str:
    """The text without these secrets: a server may echo what it was sent."""
    for secret in secrets:
        if len(secret) >= LEAST_SECRET_CHARS:
            text = text.replace(secret, REMOVED)
    return text


def _storable(text: str) -> str:
    # Neither is text to PostgreSQL: a NUL, and half of a surrogate pair.
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()
