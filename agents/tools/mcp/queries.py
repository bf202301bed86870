"""Reads of MCP servers and their tools, always for somebody; a foreign row is NotFound."""

from uuid import UUID

from django.conf import settings
from django.db.models import QuerySet

from agents.models import MCPServer, MCPTool
from agents.tools.mcp.tools import RemoteTool
from atom.ground.errors import NotFound
from atom.ground.principal import Principal


def servers_of(principal: Principal) -> QuerySet[MCPServer]:
    return MCPServer.objects.filter(workspace_id=principal.workspace_id)


def get_server(principal: Principal, server_id: UUID) -> MCPServer:
    return _one(servers_of(principal).filter(pk=server_id).first())


def get_server_named(principal: Principal, slug: str) -> MCPServer:
    """The enabled server with this slug, for whoever calls its tools."""
    return _one(usable_servers(principal.workspace_id).filter(slug=slug).first())


def tools_on(server: MCPServer) -> QuerySet[MCPTool]:
    return MCPTool.objects.filter(server=server).select_related("server")


def get_tool(principal: Principal, server_id: UUID, name: str) -> MCPTool:
    found = tools_on(get_server(principal, server_id)).filter(name=name).first()
    if found is None:
        raise NotFound("There is no such tool.")
    return found


def usable_servers(workspace_id: UUID) -> QuerySet[MCPServer]:
    servers = MCPServer.objects.filter(workspace_id=workspace_id, is_enabled=True)
    return servers if settings.ATOM_MCP_STDIO else servers.exclude(transport=MCPServer.Transport.STDIO)


def offered(workspace_id: UUID, slug: str, name: str | None = None) -> list[RemoteTool]:
    """The approved tools of a usable server, or the one called `name`."""
    found = MCPTool.objects.filter(
        server__in=usable_servers(workspace_id), server__slug=slug, is_approved=True
    ).select_related("server")
    return [RemoteTool(row) for row in (found if name is None else found.filter(name=name))]


def _one(server: MCPServer | None) -> MCPServer:
    if server is None:
        raise NotFound("There is no such MCP server.")
    return server
