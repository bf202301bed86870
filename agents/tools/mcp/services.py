"""MCP servers: made, changed, removed, looked at. No audit entry, answer or log ever holds a header's value."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

import orjson
from django.conf import settings
from django.db import IntegrityError, transaction

from agents.models import MCPServer
from agents.tools.http import check_headers
from agents.tools.mcp.client import check_stdio, list_tools
from agents.tools.mcp.pins import keep_described
from agents.tools.mcp.tools import connection_to
from atom.ground import audit
from atom.ground.errors import BadRequest, Conflict
from atom.ground.http import guard_resolved
from atom.ground.principal import Principal
from atom.ground.queries import require_installation_admin
from llm import sealing
from llm.shared import from_sync

STDIO = MCPServer.Transport.STDIO
# What changes whom Atom talks to: the sealed values were given for the other one.
_PLACE = ("url", "command")


def create_server(
    *,
    principal: Principal,
    slug: str,
    name: str,
    transport: str,
    url: str = "",
    command: Sequence[str] = (),
    values: Mapping[str, str] | None = None,
    timeout_s: float = 30.0,
    is_enabled: bool = True,
) -> MCPServer:
    """A new server, none of whose tools is known yet. `values` are its headers, or its environment."""
    server = MCPServer(
        id=uuid4(),
        workspace_id=principal.workspace_id,
        slug=slug,
        name=name,
        transport=transport,
        url=url,
        command=list(command),
        timeout_s=timeout_s,
        is_enabled=is_enabled,
    )
    _check(server, principal)
    _seal(server, values or {})
    try:
        with transaction.atomic():
            server.save(force_insert=True)
            _record(server, "mcp_server.created", by=principal.username)
    except IntegrityError as exc:
        raise Conflict(f"There is already an MCP server with the slug '{slug}'.", param="slug") from exc
    return server


@transaction.atomic
def update_server(*, server: MCPServer, principal: Principal, **changes: Any) -> MCPServer:
    """Change what is given; slug and transport stay. With another address the sealed values must be given again."""
    values: Mapping[str, str] | None = changes.pop("values", None)
    is_moved = any(name in changes and changes[name] != getattr(server, name) for name in _PLACE)
    for name, value in changes.items():
        setattr(server, name, value)
    _check(server, principal)
    if is_moved and values is None and server.value_names:
        raise BadRequest("Give the values again: they were meant for the other address.", param="values")
    if values is not None:
        _seal(server, values)
    server.save()
    if is_moved:
        # Its tools are somebody else's now, whatever they are called.
        server.tools.all().delete()
    _record(
        server, "mcp_server.updated", by=principal.username, changed=sorted(changes) + ["values"] * (values is not None)
    )
    return server


@transaction.atomic
def delete_server(*, server: MCPServer, by: str) -> None:
    _record(server, "mcp_server.deleted", by=by)
    server.delete()


def refresh(*, server: MCPServer, by: str) -> MCPServer:
    """Ask the server for its tools, from sync code. Raises ToolFailed."""
    described = from_sync(list_tools(connection_to(server)))
    keep_described(server=server, described=described, by=by)
    server.refresh_from_db()
    return server


def _check(server: MCPServer, principal: Principal) -> None:
    if server.transport == STDIO:
        # Such a program may do whatever Atom's own user may.
        check_stdio()
        require_installation_admin(principal)
        if not server.command or server.url:
            raise BadRequest("A program needs its command, as a list, and no url.", param="command")
        return
    if server.command or not server.url:
        raise BadRequest("A server that is called needs its url, and no command.", param="url")
    guard_resolved(server.url, settings.ATOM_ALLOWED_TOOL_HOSTS)


def _seal(server: MCPServer, values: Mapping[str, str]) -> None:
    if server.transport == STDIO:
        for name, value in values.items():
            if not name or "=" in name or "\x00" in name + value:
                raise BadRequest(f"values.{name}: this cannot stand in an environment.", param=f"values.{name}")
    else:
        check_headers(dict(values), "values")
    text = orjson.dumps(dict(values)).decode()
    server.sealed = sealing.seal(text, workspace_id=server.workspace_id, provider=str(server.id))
    server.value_names = sorted(values)


def _record(server: MCPServer, event: str, *, by: str, **more: object) -> None:
    where = {"url": server.url} if server.url else {"command": server.command[:1]}
    details = {"server": server.id, "slug": server.slug, "transport": server.transport, **where, **more}
    audit.append(workspace_id=server.workspace_id, actor=by, event=event, details=details)
