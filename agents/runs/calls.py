"""What becomes of a model's tool calls in a run: each is judged, then run, handed to the client, held, or refused."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import orjson

from agents import gate
from agents.runs.events import (
    ApprovalNeeded,
    RunEvent,
    ToolCall,
    ToolEnded,
    ToolJudged,
    ToolProgress,
    ToolStarted,
    pending_text,
)
from agents.runs.steering import Steering
from agents.runs.turn import Turn
from agents.tools import provenance
from agents.tools.own import OwnTool, Progress, problem_with_arguments, run_tool
from atom.ground.errors import AtomError
from llm.messages import Message, ToolResult
from llm.messages import ToolCall as ModelToolCall

NOT_AN_OBJECT = "The arguments are not a JSON object."


@dataclass(slots=True)
class Judged:
    """What became of the calls of one answer; `released`: the choices of which the client has some to run."""

    released: set[int] = field(default_factory=set)
    is_pending: bool = False
    # Whether the answer ends here, for the client to have the next word.
    is_answer: bool = False
    results: list[ToolResult] = field(default_factory=list)


class ToolCalls:
    """Of one run in this process. `emit` tells the run's listeners; `say` puts words into its answer, or into
    another choice of it."""

    def __init__(
        self,
        turn: Turn,
        steering: Steering,
        *,
        emit: Callable[[RunEvent], Awaitable[None]],
        say: Callable[[str, int], Awaitable[None]],
    ) -> None:
        self.turn = turn
        self.steering = steering
        self._emit = emit
        self._say = say
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """People have decided about a call that is held."""
        self._woken.set()

    async def judge(self, calls: Sequence[ModelToolCall], heard: Sequence[Message]) -> Judged:
        """Judge each call by itself, and do what the verdict says. `heard` is what the model was told before."""
        judged = Judged()
        for call in calls:
            await self.steering.stand_by()
            own = self.turn.own_tools.get(call.name)
            arguments = _object_in(call.arguments)
            if own is not None and (problem := _problem(own, arguments)):
                # Nothing to judge: the model is told what to mend.
                await self._emit(ToolEnded(call.id, call.name, False, problem))
                judged.results.append(ToolResult(call.id, problem))
                continue
            verdict = await self._verdict(call, own, arguments, heard)
            await self._emit(ToolJudged(call.id, call.name, verdict.decision, verdict.reason))
            if own is None:
                judged.released |= {call.choice} if await self._release(call, verdict) else set()
            elif verdict.is_allowed:
                judged.results.append(await self._run_own(own, call, arguments or {}))
            elif verdict.approval_id is not None:
                judged.is_pending = True
                await self._emit(ApprovalNeeded(str(verdict.approval_id), call.id, call.name, verdict.reason))
            else:
                judged.results.append(ToolResult(call.id, f"Refused: {verdict.reason}"))
        # A refusal to the client is assistant text, so the answer ends here even when no call is left.
        judged.is_answer = bool(judged.released) or all(call.name not in self.turn.own_tools for call in calls)
        return judged

    async def release_held(self, approval_id: UUID, call_id: str, name: str, choice: int = 0) -> bool:
        """Wait for people, and let the client have the call as they approved it, or words in its place."""
        answer = await self._hold(approval_id)
        if answer.status == "approved":
            await self._emit(ToolCall(call_id, name, orjson.dumps(answer.arguments).decode(), choice or None))
            return True
        if answer.status == "pending":
            await self._say(pending_text(name, approval_id), choice)
        else:
            await self._say(f"The call to {name} was refused: {answer.reason}", choice)
        return False

    async def _verdict(
        self, call: ModelToolCall, own: OwnTool | None, arguments: dict[str, Any] | None, heard: Sequence[Message]
    ) -> gate.Verdict:
        if arguments is None:
            return gate.Verdict(gate.Decision.DENY, NOT_AN_OBJECT, 4, rule="bad-arguments")
        texts = provenance.untrusted_texts(heard, self.turn.own_tools)
        action = gate.Action(
            workspace_id=self.turn.workspace_id,
            agent_id=self.turn.agent_id,
            user_id=self.turn.user_id,
            run_id=self.turn.run_id,
            name=own.action if own else call.name,
            arguments=arguments,
            tool=call.name,
            call_id=call.id,
            is_run_by_atom=own is not None,
            # Off the loop: results and arguments may be long.
            context=await asyncio.to_thread(provenance.provenance_of, arguments, texts) if texts else {},
            complexity=own.complexity if own else None,
        )
        return await gate.judge(action)

    async def _run_own(self, tool: OwnTool, call: ModelToolCall, arguments: dict[str, Any]) -> ToolResult:
        async def tell(news: Progress) -> None:
            await self._emit(ToolProgress(call.id, call.name, news.progress, news.total, news.message))

        # People may have paused the run while the call was judged.
        await self.steering.stand_by()
        await self._emit(ToolStarted(call.id, call.name))
        try:
            result, ok = await run_tool(tool, arguments, key=f"{self.turn.run_id}:{call.id}", tell=tell), True
        except AtomError as exc:
            result, ok = exc.message, False
        await self._emit(ToolEnded(call.id, call.name, ok, result))
        return ToolResult(call.id, result)

    async def _release(self, call: ModelToolCall, verdict: gate.Verdict) -> bool:
        """Let the client have the call, or put words in its place. True when it was released."""
        if verdict.is_allowed:
            await self._emit(ToolCall(call.id, call.name, call.arguments, call.choice or None, call.extra or None))
            return True
        if verdict.approval_id is None:
            await self._say(f"The call to {call.name} was refused: {verdict.reason}", call.choice)
            return False
        await self._emit(ApprovalNeeded(str(verdict.approval_id), call.id, call.name, verdict.reason))
        return await self.release_held(verdict.approval_id, call.id, call.name, call.choice)

    async def _hold(self, approval_id: UUID) -> gate.Answer:
        """Wait for the approval of a call that the client runs, as long as a request may be held."""
        deadline = time.monotonic() + self.turn.approval_hold_s
        while True:
            self._woken.clear()
            answer = await gate.gate().take(approval_id)
            left = deadline - time.monotonic()
            if answer.status != "pending" or left <= 0:
                return answer
            try:
                # The wake-up can be lost with the store's connection: look again after 2 s at the latest.
                await asyncio.wait_for(self._woken.wait(), min(left, 2.0))
            except TimeoutError:
                continue


def _object_in(text: str) -> dict[str, Any] | None:
    """The JSON object that a model wrote as a call's arguments; None when it is none."""
    try:
        found = orjson.loads(text or b"{}")
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None


def _problem(tool: OwnTool, arguments: dict[str, Any] | None) -> str:
    return NOT_AN_OBJECT if arguments is None else problem_with_arguments(tool, arguments)
