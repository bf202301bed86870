"""What the tests of MCP share: a server that Alice has registered, with tools that she has approved."""

from typing import Any

import httpx

from agents.models import MCPServer
from agents.tools.mcp import pins, services
from atom.ground.principal import Principal

VALUE = "mcp-secret-canary-0815"


def register(principal: Principal, url: str, slug: str = "small", **given: Any) -> MCPServer:
    """The server with its tools looked up, none of them approved."""
    values = {"Authorization": f"Bearer {VALUE}"}
    server = services.create_server(
        principal=principal, slug=slug, name="Small", transport="http", url=url, values=values, **given
    )
    return services.refresh(server=server, by=principal.username)


def approve(server: MCPServer, principal: Principal, *names: str, **given: Any) -> None:
    for tool in server.tools.filter(name__in=names).select_related("server"):
        pins.approve_tool(tool=tool, principal=principal, digest=tool.digest, **given)


def rpc(client: httpx.Client, method: str, params: Any = None, slug: str = "small") -> dict[str, Any]:
    """One JSON-RPC request to a door, answered as plain JSON."""
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params or {}}
    answer = client.post(f"/mcp/{slug}/", json=body, headers={"Accept": "application/json"})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def call(client: httpx.Client, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """The result of one `tools/call`."""
    result: dict[str, Any] = rpc(client, "tools/call", {"name": name, "arguments": arguments})["result"]
    return result
