"""Pinned descriptions: a tool is offered only as a person has seen it."""

from collections.abc import Sequence
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from agents.models import MCPServer, MCPTool
from agents.tools.mcp.client import Described
from agents.tools.schemas import schema_problem
from atom.ground import audit
from atom.ground.errors import BadRequest, Conflict
from atom.ground.principal import Principal


@transaction.atomic
def keep_described(*, server: MCPServer, described: Sequence[Described], by: str) -> None:
    """What the server says of its tools now. What is new or has changed waits for a person; what is gone goes."""
    MCPServer.objects.filter(pk=server.pk).update(refreshed_at=timezone.now())
    now = {tool.name: tool for tool in described}
    for row in MCPTool.objects.select_for_update().filter(server=server):
        tool = now.pop(row.name, None)
        if tool is None:
            _record(server, row, "mcp_tool.gone", by=by)
            row.delete()
        elif tool.digest != row.digest:
            _change(server, row, tool, by=by)
    for tool in now.values():
        row = MCPTool.objects.create(
            server=server,
            name=tool.name,
            description=tool.description,
            input_schema=tool.input_schema,
            digest=tool.digest,
            action=tool.name[:100],
        )
        _record(server, row, "mcp_tool.found", by=by)


def _change(server: MCPServer, row: MCPTool, tool: Described, *, by: str) -> None:
    before, was_approved = row.digest, row.is_approved
    row.description, row.input_schema, row.digest = tool.description, tool.input_schema, tool.digest
    row.is_approved, row.approved_by, row.approved_at = False, None, None
    row.save()
    _record(server, row, "mcp_tool.changed", by=by, before=before, was_approved=was_approved)


@transaction.atomic
def mark_changed(tool_id: UUID, digest: str) -> None:
    """A call found that the tool is described otherwise than under `digest`: it is not offered any more."""
    if not MCPTool.objects.filter(pk=tool_id, digest=digest, is_approved=True).update(is_approved=False):
        return
    row = MCPTool.objects.select_related("server").get(pk=tool_id)
    _record(row.server, row, "mcp_tool.changed", by="atom", before=digest, was_approved=True)


@transaction.atomic
def approve_tool(
    *,
    tool: MCPTool,
    principal: Principal,
    digest: str,
    action: str | None = None,
    complexity: int | None = None,
    is_untrusted: bool | None = None,
) -> MCPTool:
    """Offer the tool as it is described under `digest`, which is what the person has read; else Conflict."""
    problem, place = schema_problem(tool.input_schema)
    if problem:
        raise BadRequest(f"input_schema.{place}: {problem}", param="input_schema")
    tool.action = tool.action if action is None else action
    tool.is_untrusted = tool.is_untrusted if is_untrusted is None else is_untrusted
    tool.complexity = complexity
    tool.is_approved, tool.approved_by_id, tool.approved_at = True, principal.user_id, timezone.now()
    changes = ("action", "is_untrusted", "complexity", "is_approved", "approved_by_id", "approved_at")
    same = MCPTool.objects.filter(pk=tool.pk, digest=digest)
    if not same.update(**{name: getattr(tool, name) for name in changes}):
        raise Conflict("The tool is described otherwise now; look at it again.", param="digest")
    settled = {"action": tool.action, "complexity": complexity, "untrusted": tool.is_untrusted}
    _record(tool.server, tool, "mcp_tool.approved", by=principal.username, **settled)
    return tool


@transaction.atomic
def withdraw_tool(*, tool: MCPTool, by: str) -> MCPTool:
    """Do not offer the tool any more."""
    tool.is_approved, tool.approved_by, tool.approved_at = False, None, None
    tool.save(update_fields=["is_approved", "approved_by", "approved_at"])
    _record(tool.server, tool, "mcp_tool.withdrawn", by=by)
    return tool


def _record(server: MCPServer, tool: MCPTool, event: str, *, by: str, **more: object) -> None:
    details = {"server": server.slug, "tool": tool.name, "digest": tool.digest, **more}
    audit.append(workspace_id=server.workspace_id, actor=by, event=event, details=details)
