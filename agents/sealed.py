"""What agents keep sealed, joined to what `rotate_keys` reseals."""

from agents.models import MCPServer, ToolSecret
from llm.rotation import SealedTable, also_sealed

also_sealed(SealedTable("tool_secret", ToolSecret, "sealed", lambda row: str(row.bound_to)))
also_sealed(SealedTable("mcp_server", MCPServer, "sealed", lambda row: str(row.pk)))
