"""`/mcp/<server>/`: a workspace's MCP server for outside agents, as streamable HTTP without sessions of its own."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import orjson
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase

from agents import queries
from agents.api.sse import KEEP_ALIVE, KEEP_ALIVE_S, sse_response
from agents.models import MCPServer
from agents.tools.mcp import door as tools_door
from agents.tools.mcp.queries import get_server_named, offered
from agents.tools.mcp.tools import RemoteTool
from agents.tools.own import Progress, Tell, silent
from atom.ground.api.doors import door
from atom.ground.api.errors import as_atom_error
from atom.ground.api.once import once
from atom.ground.api.parsing import parse_object
from atom.ground.database import in_db
from atom.ground.errors import AtomError, BadRequest
from atom.ground.idempotency import Claim
from atom.ground.principal import Principal

# Of the protocol, newest first. Clients that know later ones fall back to these.
VERSIONS = ("2025-11-25", "2025-06-18", "2025-03-26")
METHOD_NOT_FOUND, INVALID_PARAMS, INTERNAL_ERROR = -32601, -32602, -32603
PING = {"ping", "logging/setLevel"}


class Refused(Exception):
    """A JSON-RPC error."""

    def __init__(self, code: int, message: str) -> None:
        self.code = code
        self.message = message
        super().__init__(message)


@door("POST", scope="chat")
@once()
async def mcp_door(request: HttpRequest, principal: Principal, claim: Claim | None, server: str) -> HttpResponseBase:
    found = await in_db(get_server_named, principal, server)
    message = parse_object(request.body)
    if not isinstance(message.get("method"), str) or message.get("jsonrpc") != "2.0":
        raise BadRequest('This is not a JSON-RPC request: {"jsonrpc": "2.0", "method": …}.')
    if "id" not in message:
        # Notifications want no answer; a client that cancels a call closes its request.
        return HttpResponse(status=202)
    params = message.get("params") or {}
    try:
        if message["method"] != "tools/call":
            return _answer(message, await in_db(_result_of, found, message["method"], params))
        asked = await in_db(_asked, principal, found, message["id"], params)
    except Refused as exc:
        return _error(message, exc.code, exc.message)
    # An answer that is to be remembered comes whole: the protocol leaves that to the server.
    if claim is None and "text/event-stream" in request.headers.get("Accept", ""):
        return sse_response(_frames(message, asked, _progress_token(params)))
    called = await tools_door.call(asked, silent)
    if claim is not None:
        claim.is_final = called.approval_id is None
    return _answer(message, _as_result(called))


def _result_of(server: MCPServer, method: str, params: Any) -> dict[str, Any]:
    match method:
        case "initialize":
            wanted = params.get("protocolVersion") if isinstance(params, dict) else None
            return {
                "protocolVersion": wanted if wanted in VERSIONS else VERSIONS[0],
                "capabilities": {"tools": {}},
                "serverInfo": {"name": f"atom/{server.slug}", "title": server.name, "version": "1"},
            }
        case "tools/list":
            return {"tools": [_tool_json(tool) for tool in offered(server.workspace_id, server.slug)]}
        case _ if method in PING:
            return {}
        case _:
            raise Refused(METHOD_NOT_FOUND, "This server has tools only: initialize, ping, tools/list, tools/call.")


def _tool_json(tool: RemoteTool) -> dict[str, Any]:
    """Under its own name here, for this door is one server's."""
    return {"name": tool.row.name, "description": tool.description, "inputSchema": tool.parameters}


def _asked(principal: Principal, server: MCPServer, request_id: Any, params: Any) -> tools_door.ToolCall:
    if not isinstance(params, dict) or not isinstance(params.get("name"), str):
        raise Refused(INVALID_PARAMS, "params.name is missing.")
    arguments = params.get("arguments", {})
    if not isinstance(arguments, dict):
        raise Refused(INVALID_PARAMS, "params.arguments must be an object.")
    tool = next(iter(offered(server.workspace_id, server.slug, params["name"])), None)
    if tool is None:
        raise Refused(INVALID_PARAMS, "There is no such tool, or nobody has approved its description yet.")
    # No model is asked, so it is the token's agent, or `direct`.
    agent = queries.agent_for_model(principal, "")
    return tools_door.ToolCall(principal, agent, tool, arguments, str(request_id))


def _progress_token(params: dict[str, Any]) -> str | int | None:
    meta = params.get("_meta")
    token = meta.get("progressToken") if isinstance(meta, dict) else None
    return token if isinstance(token, str | int) else None


async def _frames(
    message: dict[str, Any], asked: tools_door.ToolCall, token: str | int | None
) -> AsyncGenerator[bytes, None]:
    """Progress as it comes, comments through the silence, then the result. A client that goes ends the call."""
    news: asyncio.Queue[Progress] = asyncio.Queue()
    tell: Tell = silent if token is None else news.put
    task = asyncio.create_task(tools_door.call(asked, tell))
    try:
        # At once, so that proxies and clients see an open stream.
        yield KEEP_ALIVE
        while not task.done():
            fresh = asyncio.create_task(news.get())
            await asyncio.wait({task, fresh}, timeout=KEEP_ALIVE_S, return_when=asyncio.FIRST_COMPLETED)
            if fresh.done():
                yield _frame(_progress_json(token, fresh.result()))
                continue
            fresh.cancel()
            if not task.done():
                yield KEEP_ALIVE
        yield _frame(_whole(message, task))
    finally:
        task.cancel()


def _whole(message: dict[str, Any], task: asyncio.Task[tools_door.Called]) -> dict[str, Any]:
    exc = task.exception()
    if exc is None:
        return {"jsonrpc": "2.0", "id": message["id"], "result": _as_result(task.result())}
    error = as_atom_error(exc) if isinstance(exc, Exception) else AtomError()
    return {"jsonrpc": "2.0", "id": message["id"], "error": {"code": INTERNAL_ERROR, "message": error.message}}


def _progress_json(token: str | int | None, news: Progress) -> dict[str, Any]:
    params: dict[str, Any] = {"progressToken": token, "progress": news.progress}
    if news.total is not None:
        params["total"] = news.total
    if news.message:
        params["message"] = news.message
    return {"jsonrpc": "2.0", "method": "notifications/progress", "params": params}


def _as_result(called: tools_door.Called) -> dict[str, Any]:
    result: dict[str, Any] = {"content": [{"type": "text", "text": called.text}], "isError": called.is_error}
    if called.approval_id is not None:
        result["structuredContent"] = {"status": "approval_pending", "approval_id": str(called.approval_id)}
    return result


def _frame(body: dict[str, Any]) -> bytes:
    return b"event: message\ndata: " + orjson.dumps(body) + b"\n\n"


def _answer(message: dict[str, Any], result: dict[str, Any]) -> JsonResponse:
    return JsonResponse({"jsonrpc": "2.0", "id": message["id"], "result": result})


def _error(message: dict[str, Any], code: int, text: str) -> JsonResponse:
    return JsonResponse({"jsonrpc": "2.0", "id": message["id"], "error": {"code": code, "message": text}})
