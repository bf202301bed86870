"""A server's approved tool as one that Atom runs."""

import re
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
from django.db.models import F

from agents.models import MCPServer, MCPTool
from agents.tools.mcp.client import Connection, Described, call_tool
from agents.tools.mcp.pins import mark_changed
from agents.tools.own import Tell
from atom.ground.database import in_db
from llm import sealing

# What models take as a tool's name.
MAX_NAME_CHARS = 64
_ODD = re.compile(r"[^A-Za-z0-9_-]")


def offered_name(slug: str, name: str) -> str:
    """The name under which a model sees a server's tool: `<server>__<tool>`."""
    return f"{slug}__{_ODD.sub('_', name)}"[:MAX_NAME_CHARS]


def connection_to(server: MCPServer) -> Connection:
    """With the server's sealed values opened; raise Undecryptable."""
    values = sealing.unseal(bytes(server.sealed), workspace_id=server.workspace_id, provider=str(server.id))
    return Connection(
        slug=server.slug,
        is_stdio=server.transport == MCPServer.Transport.STDIO,
        url=server.url,
        command=tuple(server.command),
        values=orjson.loads(values),
        timeout_s=server.timeout_s,
    )


@dataclass(frozen=True, slots=True)
class RemoteTool:
    """The tool of a row that was read with its server, as it was approved."""

    row: MCPTool

    @property
    def name(self) -> str:
        return offered_name(self.row.server.slug, self.row.name)

    @property
    def description(self) -> str:
        return self.row.description

    @property
    def parameters(self) -> dict[str, Any]:
        schema: dict[str, Any] = self.row.input_schema
        return schema

    @property
    def action(self) -> str:
        return self.row.action

    @property
    def complexity(self) -> int | None:
        return self.row.complexity

    @property
    def is_untrusted(self) -> bool:
        return self.row.is_untrusted

    async def run(self, arguments: dict[str, Any], *, key: str, tell: Tell) -> str:
        """Call the tool, if it still is what was approved. MCP knows no key for repetitions."""
        row = self.row
        described = Described(row.name, row.description, row.input_schema)

        async def changed() -> None:
            await in_db(mark_changed, row.id, described.digest)

        await in_db(_count, row.id)
        return await call_tool(connection_to(row.server), described, arguments, changed=changed, tell=tell)


def _count(tool_id: UUID) -> None:
    MCPTool.objects.filter(pk=tool_id).update(call_count=F("call_count") + 1)
