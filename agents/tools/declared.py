"""The tools that an agent declares: checked when they are written, put together when it is to act."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import httpx
from django.db import transaction

from agents.models import Agent, MCPServer, ToolSecret
from agents.tools.http import HTTPTool, Sealed, check_headers, check_tool_url
from agents.tools.mcp.queries import offered
from agents.tools.own import OwnTool
from agents.tools.schemas import schema_problem
from atom.ground.errors import AtomError, BadRequest
from llm import sealing


def check_tools(*, workspace_id: UUID, tools: Sequence[Mapping[str, Any]]) -> None:
    """Raise BadRequest, with the place as its `param`, for a tool that could not work."""
    seen: set[tuple[str, str]] = set()
    for position, tool in enumerate(tools):
        place = f"tools.{position}"
        if tool["kind"] == "mcp":
            identity = (f"mcp:{tool['server']}", tool.get("name", ""))
            if not MCPServer.objects.filter(workspace_id=workspace_id, slug=tool["server"]).exists():
                raise _wrong(f"{place}.server", f"there is no MCP server '{tool['server']}'.")
        else:
            identity = ("http", tool["name"])
            _check_http(tool, place)
        if identity in seen:
            raise _wrong(f"{place}.name", "this tool is declared twice.")
        seen.add(identity)


def _check_http(tool: Mapping[str, Any], place: str) -> None:
    problem, where = schema_problem(tool.get("parameters") or {})
    if problem:
        raise _wrong(f"{place}.parameters.{where}".rstrip("."), problem)
    check_headers(dict(tool.get("headers") or {}), f"{place}.headers")
    if not all("!" <= char <= "~" for char in tool.get("secret") or ""):
        raise _wrong(f"{place}.secret", "it may hold printable ASCII characters only, and no blanks.")
    try:
        check_tool_url(tool["url"])
    except AtomError as exc:
        raise _wrong(f"{place}.url", exc.message) from exc


def _wrong(place: str, why: str) -> BadRequest:
    return BadRequest(f"{place}: {why}", param=place)


@transaction.atomic
def keep_secrets(agent: Agent, tools: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Seal the secrets of these tools and give the declarations without them, as they may be shown.

    A tool that comes without a secret keeps the one it has, while its address stays; an empty one removes it.
    """
    known = {row.tool: row for row in ToolSecret.objects.filter(agent=agent)}
    shown = []
    for position, tool in enumerate(tools):
        public = {name: value for name, value in tool.items() if name not in {"secret", "has_secret"}}
        if tool["kind"] == "http" and (given := tool.get("secret")) != "":
            row = known.pop(tool["name"], None)
            public["has_secret"] = _keep(agent, tool, row, given, f"tools.{position}.secret")
        shown.append(public)
    ToolSecret.objects.filter(pk__in=[row.pk for row in known.values()]).delete()
    return shown


def _keep(agent: Agent, tool: Mapping[str, Any], row: ToolSecret | None, given: str | None, place: str) -> bool:
    origin = _origin(tool["url"])
    if given is None:
        if row is not None and row.origin != origin:
            raise _wrong(place, "give the secret again: it was meant for the other address.")
        return row is not None
    row = row or ToolSecret(workspace_id=agent.workspace_id, agent=agent, tool=tool["name"])
    row.origin = origin
    row.sealed = sealing.seal(given, workspace_id=agent.workspace_id, provider=row.bound_to)
    row.save()
    return True


def _origin(url: str) -> str:
    parsed = httpx.URL(url)
    return f"{parsed.scheme}://{parsed.netloc.decode('ascii')}"


def tools_of(agent: Agent) -> dict[str, OwnTool]:
    """What the agent may call now, by name. May query; of an MCP server only what a person has approved."""
    secrets = {
        row.tool: Sealed(bytes(row.sealed), row.workspace_id, row.bound_to)
        for row in (ToolSecret.objects.filter(agent=agent) if any(t.get("has_secret") for t in agent.tools) else ())
    }
    found: list[OwnTool] = []
    for tool in agent.tools:
        if tool.get("kind") == "mcp":
            found += offered(agent.workspace_id, tool["server"], tool.get("name"))
        else:
            found.append(HTTPTool.from_json(tool, secrets.get(tool["name"])))
    by_name: dict[str, OwnTool] = {}
    for one in found:
        # Two names that read alike to a model: the first one stands.
        by_name.setdefault(one.name, one)
    return by_name


def tool_named(agent: Agent, name: str, *, is_door: bool = False) -> OwnTool | None:
    """The tool with this name: of the agent, or of any server of its workspace when asked for at a server's door."""
    if not is_door:
        return tools_of(agent).get(name)
    slug = name.partition("__")[0]
    return next((tool for tool in offered(agent.workspace_id, slug) if tool.name == name), None)
