"""`/mcp/<server>/`: outside agents call a workspace's MCP tools, with the official client and by hand."""

import asyncio
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.types import TextContent
from pytest_django import Settings

from agents.models import Agent, MCPServer, MCPTool
from agents.services import set_status
from agents.tools.mcp import services
from atom.ground.errors import Conflict
from atom.ground.models import AuditEntry, Membership, User
from atom.ground.principal import Principal
from atom.ground.tokens import create_token
from governance.models import Approval, Decision
from governance.services import approve as say_yes
from governance.services import reject
from governance.tasks import execute_approved
from tests.agents.mcp_kit import approve, call, register, rpc
from tests.events import bearer
from tests.simulators.mcp_server import calls_in, stdio_command

pytestmark = pytest.mark.django_db(transaction=True)
MakeAgent = Callable[..., Agent]
TokenOf = Callable[[Principal], str]
DELETE = ("delete_record", {"id": 7})


@pytest.fixture
def small(server: str, alice: Principal, mcp_url: str) -> MCPServer:
    """A real server behind the door, all of whose tools Alice has approved but one."""
    registered = register(alice, mcp_url)
    approve(registered, alice, "read_note", "delete_record", "get_report", "get_trouble")
    return registered


@pytest.fixture
def as_intern(server: str, small: MCPServer, alice: Principal, make_agent: MakeAgent, settings: Settings) -> Any:
    """A client whose token is bound to an intern; it is held for a moment only."""
    settings.ATOM_APPROVAL_HOLD = 0.2
    token = bound_token(alice, make_agent("intern", maturity="intern"))
    with httpx.Client(base_url=server, headers=bearer(token), timeout=30) as client:
        yield client


def bound_token(principal: Principal, agent: Agent) -> str:
    member = Membership.objects.get(user_id=principal.user_id, workspace_id=principal.workspace_id)
    token, secret = create_token(membership=member, name="bound", by="test")
    agent.token_bindings.create(token=token)
    return secret


def with_official_client(server: str, token: str, work: Callable[[Client], Any], slug: str = "small") -> Any:
    return asyncio.run(_with_official_client(server, token, work, slug))


async def _with_official_client(server: str, token: str, work: Callable[[Client], Any], slug: str) -> Any:
    async with httpx2.AsyncClient(headers=bearer(token), timeout=60, trust_env=False) as http:
        transport = streamable_http_client(f"{server}/mcp/{slug}/", http_client=http)
        async with Client(transport) as client:
            return await work(client)


# --- The official client -----------------------------------------------------------------------------------
def test_the_official_client_lists_and_calls_tools_and_hears_of_progress(
    server: str, small: MCPServer, alice: Principal, token_of: TokenOf, mcp_folder: Path
) -> None:
    news: list[tuple[float, float | None, str | None]] = []

    async def heard(progress: float, total: float | None, message: str | None) -> None:
        news.append((progress, total, message))

    async def work(client: Client) -> None:
        listed = await client.list_tools()
        assert [tool.name for tool in listed.tools] == ["delete_record", "get_report", "get_trouble", "read_note"]
        said = await client.call_tool("get_report", {"pages": 2}, progress_callback=heard)
        assert [part.text for part in said.content if isinstance(part, TextContent)] == ["the report"]
        failed = await client.call_tool("get_trouble", {})
        assert failed.is_error

    with_official_client(server, token_of(alice), work)
    assert (1.0, 2.0, "page 1") in news
    assert calls_in(mcp_folder) == [("get_report", {"pages": 2})]


def test_a_program_stands_behind_the_same_door(
    server: str, alice: Principal, token_of: TokenOf, settings: Settings, tmp_path: Path
) -> None:
    settings.ATOM_MCP_STDIO = True

    User.objects.filter(pk=alice.user_id).update(is_superuser=True)
    program = services.create_server(
        principal=alice, slug="program", name="P", transport="stdio", command=stdio_command(tmp_path)
    )
    services.refresh(server=program, by="alice")
    approve(program, alice, "read_note")

    async def work(client: Client) -> str:
        said = await client.call_tool("read_note", {"id": 4})
        assert isinstance(said.content[0], TextContent)
        return said.content[0].text

    text = with_official_client(server, token_of(alice), work, slug="program")
    assert text.startswith("Note 4")
    assert calls_in(tmp_path) == [("read_note", {"id": 4})]


# --- Judged ------------------------------------------------------------------------------------------------
def test_an_allowed_call_leaves_a_decision_an_audit_entry_and_a_count(
    http: httpx.Client, small: MCPServer, mcp_folder: Path
) -> None:
    assert call(http, *DELETE) == {"content": [{"type": "text", "text": "deleted 7"}], "isError": False}
    decision = Decision.objects.get(tool="small__delete_record")
    assert (decision.agent.slug, decision.decision, decision.arguments) == ("direct", "allow", {"id": 7})
    assert decision.context == {"door": "mcp", "server": "small"}
    entry = AuditEntry.objects.get(event="mcp_tool.called")
    assert str(decision.id) in entry.entry
    assert MCPTool.objects.get(name="delete_record").call_count == 1


def test_a_denied_call_is_not_run(
    server: str, small: MCPServer, alice: Principal, make_agent: MakeAgent, mcp_folder: Path
) -> None:
    token = bound_token(alice, make_agent("student", maturity="student"))
    with httpx.Client(base_url=server, headers=bearer(token), timeout=30) as client:
        result = call(client, *DELETE)
    assert result["isError"]
    assert result["content"][0]["text"].startswith("Refused: A student may not delete")
    assert calls_in(mcp_folder) == []
    assert Decision.objects.get(tool="small__delete_record").agent.slug == "student"


def test_a_paused_agent_calls_nothing(as_intern: httpx.Client, mcp_folder: Path) -> None:
    set_status(agent=Agent.objects.get(slug="intern"), status="paused", reason="", by="alice")
    assert "paused" in call(as_intern, "read_note", {"id": 1})["content"][0]["text"]
    assert calls_in(mcp_folder) == []


@pytest.mark.parametrize("name", ["fetch_surroundings", "nothing", ""])
def test_a_tool_that_nobody_approved_is_not_there(http: httpx.Client, small: MCPServer, name: str) -> None:
    assert rpc(http, "tools/call", {"name": name, "arguments": {}})["error"]["code"] == -32602
    assert not Decision.objects.exclude(tool="").exists()


def test_arguments_that_do_not_fit_are_the_tools_error(http: httpx.Client, small: MCPServer, mcp_folder: Path) -> None:
    result = call(http, "delete_record", {"id": "seven"})
    assert result["isError"]
    assert "at id" in result["content"][0]["text"]
    assert calls_in(mcp_folder) == []


def call_once(client: httpx.Client, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": arguments}}
    headers = {"Accept": "application/json, text/event-stream", "Idempotency-Key": "k1"}
    result: dict[str, Any] = client.post("/mcp/small/", json=body, headers=headers).json()["result"]
    return result


def test_a_call_with_a_key_is_run_once(http: httpx.Client, small: MCPServer, mcp_folder: Path) -> None:
    assert call_once(http, *DELETE) == call_once(http, *DELETE)
    assert calls_in(mcp_folder) == [DELETE]


def test_a_key_remembers_the_end_of_a_call_and_not_that_people_were_asked(
    as_intern: httpx.Client, bob: Principal, mcp_folder: Path
) -> None:
    approval = pending(call_once(as_intern, *DELETE))
    say_yes(approval=approval, principal=bob, revision=1, note="")
    execute_approved(str(approval.id))
    ended = call_once(as_intern, *DELETE)
    assert ended["content"][0]["text"] == "deleted 7"
    assert call_once(as_intern, *DELETE) == ended
    assert calls_in(mcp_folder) == [DELETE]


# --- Approved ----------------------------------------------------------------------------------------------
def pending(result: dict[str, Any]) -> Approval:
    assert result["isError"]
    assert result["structuredContent"]["status"] == "approval_pending"
    return Approval.objects.get(pk=result["structuredContent"]["approval_id"])


def test_a_call_that_people_must_approve_goes_on_when_it_is_asked_again(
    as_intern: httpx.Client, bob: Principal, mcp_folder: Path
) -> None:
    approval = pending(call(as_intern, *DELETE))
    assert pending(call(as_intern, *DELETE)) == approval
    say_yes(approval=approval, principal=bob, revision=1, note="")
    assert calls_in(mcp_folder) == []
    execute_approved(str(approval.id))
    execute_approved(str(approval.id))
    assert call(as_intern, *DELETE) == {"content": [{"type": "text", "text": "deleted 7"}], "isError": False}
    assert calls_in(mcp_folder) == [DELETE]
    # Its end has been told: who asks for the same again asks people again.
    assert pending(call(as_intern, *DELETE)) != approval


def test_people_cannot_approve_what_the_level_forbids_by_now_for_a_tool_said_to_be_complex(
    as_intern: httpx.Client, small: MCPServer, alice: Principal, bob: Principal, mcp_folder: Path
) -> None:
    approve(small, alice, "read_note", complexity=4)
    approval = pending(call(as_intern, "read_note", {"id": 1}))
    Agent.objects.filter(slug="intern").update(maturity="student")
    with pytest.raises(Conflict, match="may not happen any more"):
        say_yes(approval=approval, principal=bob, revision=1, note="")
    assert calls_in(mcp_folder) == []


def test_other_arguments_are_another_question(as_intern: httpx.Client) -> None:
    first = pending(call(as_intern, "delete_record", {"id": 7}))
    assert pending(call(as_intern, "delete_record", {"id": 8})) != first


def test_an_approval_in_time_answers_the_held_call(
    as_intern: httpx.Client, bob: Principal, settings: Settings, mcp_folder: Path
) -> None:
    approval = pending(call(as_intern, *DELETE))
    settings.ATOM_APPROVAL_HOLD = 60
    results: list[dict[str, Any]] = []
    held = threading.Thread(target=lambda: results.append(call(as_intern, *DELETE)))
    held.start()
    say_yes(approval=approval, principal=bob, revision=1, note="")
    execute_approved(str(approval.id))
    held.join(30)
    assert [result["content"][0]["text"] for result in results] == ["deleted 7"]


def test_a_rejection_says_who_and_why(as_intern: httpx.Client, bob: Principal, mcp_folder: Path) -> None:
    approval = pending(call(as_intern, *DELETE))
    reject(approval=approval, principal=bob, revision=1, note="too risky")
    result = call(as_intern, *DELETE)
    assert result["isError"]
    assert result["content"][0]["text"] == "Refused: rejected by bob: too risky"
    assert calls_in(mcp_folder) == []


def test_an_approved_call_shows_its_progress_to_whoever_looks(
    as_intern: httpx.Client, bob: Principal, small: MCPServer, alice: Principal
) -> None:
    approve(small, alice, "get_report", complexity=4)
    approval = pending(call(as_intern, "get_report", {"pages": 2}))
    say_yes(approval=approval, principal=bob, revision=1, note="")
    execute_approved(str(approval.id))
    shown = as_intern.get(f"/api/approvals/{approval.id}/").json()
    assert shown["status"] == "executed"
    assert shown["progress"]["total"] == 2.0


def test_a_tool_withdrawn_after_the_approval_does_not_run(
    as_intern: httpx.Client, bob: Principal, mcp_folder: Path
) -> None:
    approval = pending(call(as_intern, *DELETE))
    say_yes(approval=approval, principal=bob, revision=1, note="")
    MCPTool.objects.update(is_approved=False)
    execute_approved(str(approval.id))
    approval.refresh_from_db()
    assert (approval.status, calls_in(mcp_folder)) == ("failed", [])


def test_another_person_does_not_get_the_result_of_somebodys_call(
    as_intern: httpx.Client, server: str, bob: Principal, carol: Principal, mcp_folder: Path
) -> None:
    approval = pending(call(as_intern, *DELETE))
    say_yes(approval=approval, principal=bob, revision=1, note="")
    execute_approved(str(approval.id))
    token = bound_token(carol, Agent.objects.get(slug="intern"))
    with httpx.Client(base_url=server, headers=bearer(token), timeout=30) as client:
        assert pending(call(client, *DELETE)) != approval


# --- The protocol ------------------------------------------------------------------------------------------
def test_the_door_speaks_the_clients_version_or_its_own_newest(http: httpx.Client, small: MCPServer) -> None:
    known = rpc(http, "initialize", {"protocolVersion": "2025-06-18"})["result"]
    assert known["protocolVersion"] == "2025-06-18"
    assert rpc(http, "initialize", {"protocolVersion": "1999-01-01"})["result"]["protocolVersion"] == "2025-11-25"
    assert rpc(http, "ping")["result"] == {}
    assert rpc(http, "resources/list")["error"]["code"] == -32601


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"jsonrpc": "2.0", "id": 1}', b"nonsense", b'{"method": 1}'])
def test_what_is_not_a_request_is_a_400(http: httpx.Client, small: MCPServer, body: bytes) -> None:
    answer = http.post("/mcp/small/", content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "invalid_request"


@pytest.mark.parametrize("params", [[], "x", 7, {"name": 1}, {"name": "read_note", "arguments": []}, {"name": {}}])
def test_params_of_another_shape_are_an_error_of_the_protocol(
    http: httpx.Client, small: MCPServer, params: Any
) -> None:
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    assert "error" in http.post("/mcp/small/", json=body).json()


def test_a_notification_wants_no_answer(http: httpx.Client, small: MCPServer) -> None:
    answer = http.post("/mcp/small/", json={"jsonrpc": "2.0", "method": "notifications/initialized"})
    assert (answer.status_code, answer.content) == (202, b"")


def test_there_is_no_stream_to_get(http: httpx.Client, small: MCPServer) -> None:
    assert http.get("/mcp/small/").status_code == 405


def test_a_disabled_server_is_not_there(http: httpx.Client, small: MCPServer) -> None:
    MCPServer.objects.update(is_enabled=False)
    assert http.post("/mcp/small/", json={"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).status_code == 404


# --- Who ---------------------------------------------------------------------------------------------------
def test_mallory_finds_no_server_of_alices(
    server: str, small: MCPServer, mallory: Principal, token_of: TokenOf, mcp_folder: Path
) -> None:
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "read_note", "arguments": {"id": 1}}}
    with httpx.Client(base_url=server, headers=bearer(token_of(mallory)), timeout=30) as client:
        assert client.post("/mcp/small/", json=body).status_code == 404
    assert httpx.post(f"{server}/mcp/small/", json=body).status_code == 401
    assert calls_in(mcp_folder) == []


def test_a_token_without_chat_may_not_call(server: str, small: MCPServer, alice: Principal) -> None:
    member = Membership.objects.get(user_id=alice.user_id)
    _, token = create_token(membership=member, name="metrics", scopes=["metrics"], by="test")
    answer = httpx.post(
        f"{server}/mcp/small/", json={"jsonrpc": "2.0", "id": 1, "method": "tools/list"}, headers=bearer(token)
    )
    assert answer.status_code == 403


def test_a_streamed_answer_begins_with_a_comment_and_ends_with_the_result(http: httpx.Client, small: MCPServer) -> None:
    body = {"jsonrpc": "2.0", "id": 9, "method": "tools/call", "params": {"name": "read_note", "arguments": {"id": 1}}}
    answer = http.post("/mcp/small/", json=body, headers={"Accept": "application/json, text/event-stream"})
    assert answer.headers["content-type"] == "text/event-stream"
    first, last = answer.text.strip().split("\n\n")
    assert first.startswith(":")
    assert json.loads(last.split("data: ")[1])["id"] == 9
