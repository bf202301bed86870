"""An outside agent calls a tool of one of the workspace's MCP servers: judged, approved, counted, audited."""

import asyncio
import time
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from agents import gate
from agents.models import Agent
from agents.runs.turn import hold_of
from agents.tools.mcp.tools import RemoteTool
from agents.tools.own import Tell, problem_with_arguments, run_tool
from atom.ground import audit
from atom.ground.database import in_db
from atom.ground.draining import is_draining
from atom.ground.errors import AtomError
from atom.ground.principal import Principal

# Stands in the context of the decisions that are made here, for policies and for whoever runs what was approved.
MCP_DOOR = "mcp"
LOOK_EVERY_S = 0.5


@dataclass(frozen=True, slots=True)
class Called:
    """What the caller is told. `approval_id` is given while people have not decided."""

    text: str
    is_error: bool = False
    approval_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call of one tool by somebody who acts as `agent`."""

    principal: Principal
    agent: Agent
    tool: RemoteTool
    arguments: dict[str, Any]
    request_id: str

    @property
    def action(self) -> gate.Action:
        return gate.Action(
            workspace_id=self.agent.workspace_id,
            agent_id=self.agent.id,
            user_id=self.principal.user_id,
            name=self.tool.action,
            arguments=self.arguments,
            tool=self.tool.name,
            call_id=self.request_id,
            is_run_by_atom=True,
            context={"door": MCP_DOOR, "server": self.tool.row.server.slug},
            complexity=self.tool.complexity,
        )


async def call(asked: ToolCall, tell: Tell) -> Called:
    """Judge the call and run it, or wait for people a little. The same call again waits for the same people."""
    if problem := problem_with_arguments(asked.tool, asked.arguments):
        return Called(problem, is_error=True)
    action = asked.action
    approval_id = await gate.gate().asked_before(action)
    if approval_id is None:
        verdict = await gate.judge(action)
        if verdict.is_allowed:
            return await _run(asked, verdict, tell)
        if verdict.approval_id is None:
            return Called(f"Refused: {verdict.reason}", is_error=True)
        approval_id = verdict.approval_id
    return await _held(approval_id, hold_of(asked.principal.approval_hold_s))


async def _run(asked: ToolCall, verdict: gate.Verdict, tell: Tell) -> Called:
    await in_db(_record, asked, verdict)
    try:
        return Called(await run_tool(asked.tool, asked.arguments, key=str(verdict.decision_id), tell=tell))
    except AtomError as exc:
        return Called(exc.message, is_error=True)


async def _held(approval_id: UUID, hold_s: float) -> Called:
    """The end of an action that a worker runs once people have approved it, or `approval_pending`."""
    deadline = time.monotonic() + hold_s
    while True:
        answer = await gate.gate().outcome(approval_id)
        if answer.status != "pending":
            return Called(answer.reason, is_error=answer.status != "executed")
        left = deadline - time.monotonic()
        if left <= 0 or is_draining():
            text = (
                f"approval_pending: this call waits for the approval {approval_id}. "
                "Call the tool again with the same arguments to go on."
            )
            return Called(text, is_error=True, approval_id=approval_id)
        await asyncio.sleep(min(left, LOOK_EVERY_S))


def _record(asked: ToolCall, verdict: gate.Verdict) -> None:
    audit.append(
        workspace_id=asked.agent.workspace_id,
        actor=asked.principal.username,
        event="mcp_tool.called",
        details={
            "server": asked.tool.row.server.slug,
            "tool": asked.tool.row.name,
            "agent": asked.agent.slug,
            "action": asked.tool.action,
            "decision": verdict.decision_id,
            "verdict": verdict.decision,
        },
    )
