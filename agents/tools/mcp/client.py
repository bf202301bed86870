"""Talking to an MCP server: one connection for each piece of work, ended with it; errors in our words."""

import asyncio
import hashlib
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx2
import orjson
import structlog
from django.conf import settings
from mcp import Client, MCPError, StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.types import CallToolResult, Implementation, TextContent, Tool

from agents.tools.mcp.transport import guarded_client
from agents.tools.own import Progress, Tell, ToolFailed, without
from atom.ground.errors import AtomError, Forbidden
from atom.ground.http import guard

log = structlog.get_logger(__name__)
T = TypeVar("T")

_CLIENT = Implementation(name="atom", version="0.1.0")
MAX_TOOLS = 500
MAX_PAGES = 50
MAX_DESCRIPTION_CHARS = 20_000
MAX_RESULT_CHARS = 100_000
# Becomes the program itself, and dies with us even when we are killed. The program's own path does not know Atom.
_START = """
import os, sys
sys.path.insert(0, sys.argv[1])
from atom.ground.processes import die_with_parent
die_with_parent()
os.execvp(sys.argv[2], sys.argv[2:])
"""


class ServerFailed(ToolFailed):
    """The MCP server could not be reached, or said something that is not MCP."""


@dataclass(frozen=True, slots=True)
class Connection:
    """How to reach a server. `values` are its headers, or its environment: secrets."""

    slug: str
    is_stdio: bool
    url: str = ""
    command: tuple[str, ...] = ()
    values: dict[str, str] = field(default_factory=dict, repr=False)
    timeout_s: float = 30.0


@dataclass(frozen=True, slots=True)
class Described:
    """A tool as its server describes it."""

    name: str
    description: str
    input_schema: dict[str, Any]

    @property
    def digest(self) -> str:
        """What an approval of the description is bound to."""
        told = [self.name, self.description, self.input_schema]
        return hashlib.sha256(orjson.dumps(told, option=orjson.OPT_SORT_KEYS)).hexdigest()


def check_stdio() -> None:
    """Raise Forbidden unless this installation lets MCP servers be started as programs."""
    if not settings.ATOM_MCP_STDIO:
        raise Forbidden("Programs are not started as MCP servers here. The installation allows it with ATOM_MCP_STDIO.")


async def list_tools(connection: Connection) -> list[Described]:
    """All tools of the server, page by page. Raises ServerFailed."""
    return await _with_client(connection, _all_tools)


async def call_tool(
    connection: Connection,
    tool: Described,
    arguments: dict[str, Any],
    *,
    changed: Callable[[], Awaitable[None]],
    tell: Tell,
) -> str:
    """Call a tool that still is what was approved; else `changed` is told, and nothing is called.

    Raises ToolFailed: the server is away, the tool has changed or says that it failed.
    """

    async def told(progress: float, total: float | None, message: str | None) -> None:
        await tell(Progress(progress, total, without(_secrets(connection), message or "")))

    async def work(client: Client) -> CallToolResult | None:
        now = next((found for found in await _all_tools(client) if found.name == tool.name), None)
        if now is None or now.digest != tool.digest:
            return None
        return await client.call_tool(tool.name, arguments, progress_callback=told)

    result = await _with_client(connection, work)
    if result is None:
        await changed()
        raise ToolFailed(f"The tool {tool.name} is not described as it was when it was approved; a person must look.")
    text = without(_secrets(connection), _text_of(result))
    if len(text) > MAX_RESULT_CHARS:
        raise ToolFailed(f"The tool {tool.name} answered with more than {MAX_RESULT_CHARS} characters.")
    if result.is_error:
        raise ToolFailed(f"The tool {tool.name} failed: {text}")
    return text


async def _with_client(connection: Connection, work: Callable[[Client], Awaitable[T]]) -> T:
    try:
        async with (
            asyncio.timeout(connection.timeout_s),
            Client(_transport(connection), cache=None, client_info=_CLIENT) as client,
        ):
            return await work(client)
    except Exception as exc:
        raise _in_our_words(connection, exc) from exc


def _in_our_words(connection: Connection, exc: Exception) -> AtomError:
    """What happened, out of the groups that the library's tasks wrap around it."""
    while isinstance(exc, ExceptionGroup):
        exc = exc.exceptions[0]
    where = f"The MCP server {connection.slug}"
    match exc:
        case AtomError():
            return exc
        case TimeoutError():
            limit = f"{connection.timeout_s:g} s"
            return ServerFailed(f"{where} was not done within {limit}; its timeout_s can be raised.")
        case MCPError():
            return ServerFailed(f"{where} refused: {without(_secrets(connection), exc.error.message[:500])}")
        case httpx2.UnsupportedProtocol():
            return ServerFailed(f"{where} could not be called: {exc}")
        case _:
            log.warning("mcp_server_failed", server=connection.slug, error=type(exc).__name__)
            return ServerFailed(f"{where} could not be reached, or does not speak MCP.")


def _secrets(connection: Connection) -> list[str]:
    """As they may stand in what a server says: a header's value without its `Bearer`, too."""
    return [part for value in connection.values.values() for part in (value, value.rpartition(" ")[2])]


def _transport(connection: Connection) -> AbstractAsyncContextManager[Any]:
    if connection.is_stdio:
        check_stdio()
        return _program(connection)
    guard(connection.url, settings.ATOM_ALLOWED_TOOL_HOSTS)
    return _remote(connection)


@asynccontextmanager
async def _remote(connection: Connection) -> AsyncIterator[Any]:
    async with (
        guarded_client(connection.values) as http,
        streamable_http_client(connection.url, http_client=http) as streams,
    ):
        yield streams


@asynccontextmanager
async def _program(connection: Connection) -> AsyncIterator[Any]:
    """The program in a folder of its own. Of our environment it has HOME, PATH and the like, and none of our keys."""
    # Opening the null device waits for nothing.
    with tempfile.TemporaryDirectory(prefix="atom-mcp-") as folder, Path("/dev/null").open("w") as nowhere:  # noqa: ASYNC230
        server = StdioServerParameters(
            command=sys.executable,
            args=["-c", _START, str(settings.BASE_DIR), *connection.command],
            env=connection.values,
            cwd=folder,
        )
        # What it writes to its error stream may hold its secrets.
        async with stdio_client(server, errlog=nowhere) as streams:
            yield streams


async def _all_tools(client: Client) -> list[Described]:
    found: list[Described] = []
    cursor: str | None = None
    for _ in range(MAX_PAGES):
        page = await client.list_tools(cursor=cursor)
        found += map(_described, page.tools)
        if len(found) > MAX_TOOLS:
            raise ServerFailed(f"The server has more than {MAX_TOOLS} tools.")
        cursor = page.next_cursor
        if not cursor:
            return found
    raise ServerFailed(f"The server lists its tools on more than {MAX_PAGES} pages.")


def _described(tool: Tool) -> Described:
    if len(tool.description or "") > MAX_DESCRIPTION_CHARS or len(tool.name) > 200:
        raise ServerFailed(f"A tool describes itself with more than {MAX_DESCRIPTION_CHARS} characters.")
    return Described(tool.name, tool.description or "", tool.input_schema)


def _text_of(result: CallToolResult) -> str:
    """What a model reads: the texts; the structured answer where there are none."""
    texts = [part.text if isinstance(part, TextContent) else f"[{part.type}]" for part in result.content]
    if not texts and result.structured_content is not None:
        return orjson.dumps(result.structured_content).decode()
    return "\n".join(texts)
