"""A run's answer for doors that give it as a whole, or that must know how it begins before they answer."""

import time
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from uuid import UUID

from django.http import HttpRequest

from agents import queries
from agents.api.sse import KEEP_ALIVE_S
from agents.models import RunStatus
from agents.runs.events import (
    ApprovalNeeded,
    Corrected,
    Recorded,
    RunEnded,
    TextDelta,
    ThinkingDelta,
    ToolCall,
    WireDelta,
    pending_text,
)
from agents.runs.following import follow_together
from agents.runs.runner import Runner
from agents.runs.start import Attached, ask_again, start_run
from atom.ground import journal
from atom.ground.database import in_db
from atom.ground.errors import AtomError, BadRequest, MissingUserMessage, NotAuthenticated
from atom.ground.idempotency import Claim
from atom.ground.principal import Principal
from llm.messages import Part, Request

# The `type` of the error of a run that somebody stopped, or whose process died.
RUN_ENDED = "run_ended"
# However short a hold is, silence is looked at no more often.
LOOK_UP_S = 0.2


class RunStopped(AtomError):
    """The run was cancelled, terminated or interrupted before its answer was complete."""

    code = "run_stopped"
    type = "run_error"
    status = 409


def last_user_parts(request: Request) -> tuple[Part, ...]:
    """What the person said last, which is what the run keeps."""
    said = (message.parts for message in reversed(request.messages) if message.role == "user")
    if (found := next(said, None)) is None:
        raise MissingUserMessage("At least one message must be the user's.", param="messages")
    return found


def failure_of(runner: Runner | Attached, ended: RunEnded) -> AtomError | None:
    """What a run that did not succeed is answered with; None for one that did."""
    if ended.status == RunStatus.SUCCEEDED:
        return None
    return runner.error or _told(ended.error or {})


def _told(error: dict[str, Any]) -> AtomError:
    """The error as another process told it: of the class that its code names."""
    kinds = [AtomError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    message, details = error.get("message", ""), error.get("details")
    named = next((one for one in kinds if one.code == error.get("code")), None)
    if error.get("type") == RUN_ENDED or named is None or named is NotAuthenticated:
        return RunStopped(message)
    told = named.__new__(named)
    AtomError.__init__(told, message, param=error.get("param"), details=details)
    return told


def served_headers(runner: Runner | Attached) -> dict[str, str]:
    """Who served: on every answer of `/v1` and chat."""
    replayed = {"Idempotent-Replayed": "true"} if isinstance(runner, Attached) and runner.is_replayed else {}
    return {
        **replayed,
        "x-atom-run": str(runner.run_id),
        "x-atom-provider": runner.served.provider,
        "x-atom-model": runner.served.model,
        "x-atom-attempts": str(max(1, runner.served.attempts) if runner.served.provider else runner.served.attempts),
    }


def approval_asked_for(request: HttpRequest) -> UUID | None:
    """The approval in `x-atom-approval`: the client asks again for a call that waited for people."""
    text = request.META.get("HTTP_X_ATOM_APPROVAL")
    if text is None:
        return None
    try:
        return UUID(text.strip())
    except ValueError as exc:
        raise BadRequest("x-atom-approval is the id of an approval.", param="x-atom-approval") from exc


async def started(
    principal: Principal,
    asked: Request,
    *,
    door: str,
    approval_id: UUID | None = None,
    claim: Claim | None = None,
    is_background: bool = False,
    may_wait: bool = False,
) -> Runner | Attached:
    """The run that a request on `/v1` begins, or goes on with when it names the approval that it waited for.

    With a `claim` the run carries its Idempotency-Key. `may_wait`: nobody needs the run in the database at once.
    """
    agent = queries.recalled_agent(principal, asked.model)
    if agent is None:
        agent = await in_db(queries.agent_for_model, principal, asked.model)
    parts = last_user_parts(asked)
    if approval_id is not None:
        await journal.settled()
        return await ask_again(
            principal=principal,
            agent=agent,
            request=asked,
            parts=parts,
            door=door,
            approval_id=approval_id,
            claim=claim,
        )
    return await start_run(
        principal=principal,
        agent=agent,
        request=asked,
        parts=parts,
        door=door,
        claim=claim,
        is_background=is_background,
        may_wait=may_wait and claim is None,
    )


# What an answer may begin with.
SHOWN = (RunEnded, TextDelta, ThinkingDelta, ToolCall, WireDelta, ApprovalNeeded)
# What a client of `/v1` is shown of a run, in this order: deltas and its own tool calls, then one end.
Told: TypeAlias = TextDelta | ThinkingDelta | ToolCall | RunEnded


@dataclass(slots=True)
class Wired:
    """What only the chat wire is told, put together: each answer's text and fields by its place, and the whole's."""

    choices: defaultdict[int, WireDelta] = field(default_factory=lambda: defaultdict(WireDelta))
    around: dict[str, Any] = field(default_factory=dict)

    def add(self, new: WireDelta) -> None:
        had = self.choices[new.choice]
        self.choices[new.choice] = WireDelta(
            new.choice,
            text=had.text + new.text,
            thinking=had.thinking + new.thinking,
            beside=_joined(had.beside, new.beside),
            within=_joined(had.within, new.within),
        )
        self.around |= new.around


def _joined(had: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Lists grow, as those of logprobs do; of all else the last word counts."""
    found = dict(had)
    for name, value in new.items():
        before = had.get(name)
        if isinstance(before, list) and isinstance(value, list):
            found[name] = before + value
        elif isinstance(before, dict) and isinstance(value, dict):
            found[name] = _joined(before, value)
        else:
            found[name] = value
    return found


@dataclass(slots=True)
class Whole:
    """An answer read to its end, or to the point where it waits for a person (`approval`)."""

    text: str = ""
    thinking: str = ""
    calls: list[ToolCall] = field(default_factory=list)
    wired: Wired = field(default_factory=Wired)
    ended: RunEnded | None = None
    approval: ApprovalNeeded | None = None


async def _again(past: Sequence[Recorded]) -> AsyncGenerator[list[Recorded] | None, None]:
    yield list(past)


class Opened:
    """A run's events with a look at the first: a run that fails before its first word is an HTTP error."""

    def __init__(self, runner: Runner | Attached) -> None:
        self.runner = runner
        # A hold ends in a moment of silence: look up at least that often.
        idle_s = min(KEEP_ALIVE_S, max(runner.approval_hold_s, LOOK_UP_S))
        past = runner.past if isinstance(runner, Attached) else ()
        # A call on `/v1` that is over is not taken up again, so it need not wait for the store.
        near = runner.log if isinstance(runner, Runner) and runner.turn.is_journaled else None
        self._batches = _again(past) if past else follow_together(runner.run_id, idle_s=idle_s, near=near)
        self._first: list[Recorded] = []

    async def begin(self, *, sees_all: bool = False) -> None:
        """Wait for the first event that the client will see; raise what the run failed with before it."""
        try:
            await self._begin(sees_all=sees_all)
        finally:
            await self._look()

    async def _look(self) -> None:
        if isinstance(self.runner, Attached):
            await self.runner.look()

    async def _begin(self, *, sees_all: bool) -> None:
        async for batch in self._batches:
            self._first += batch or ()
            first = next((one.event for one in batch or () if sees_all or isinstance(one.event, SHOWN)), None)
            if first is None:
                continue
            if isinstance(first, RunEnded) and (error := failure_of(self.runner, first)):
                # The error is kept for a while, and would keep a follower of a run that has ended.
                await self._batches.aclose()
                raise error
            return

    async def batches(self) -> AsyncIterator[list[Recorded] | None]:
        """The run's events, those together that are there at the same time; None is silence."""
        if self._first:
            yield self._first
            if isinstance(self._first[-1].event, RunEnded):
                return
        async for batch in self._batches:
            if batch is not None and isinstance(batch[-1].event, RunEnded):
                await self._look()
            yield batch

    async def events(self) -> AsyncIterator[Recorded | None]:
        async for batch in self.batches():
            if batch is None:
                yield None
            for recorded in batch or ():
                yield recorded

    def parks_at(self, event: ApprovalNeeded) -> bool:
        """Whether the run leaves this process for the approval (tools that the client runs are held instead)."""
        return event.name in self.runner.own_tools

    async def told(self) -> AsyncIterator[Told | None]:
        """What the client is shown, to one end; None is silence, or a hold that begins.

        A run that still waits for its approval after the time of a hold ends here in a text with the approval's id.
        """
        wait_until: float | None = None
        async for recorded in self.events():
            match recorded.event if recorded else None:
                case ApprovalNeeded() as needed:
                    yield None
                    if self.parks_at(needed):
                        wait_until, pending = time.monotonic() + self.runner.approval_hold_s, needed
                case TextDelta() | ThinkingDelta() | ToolCall() as shown:
                    yield shown
                case RunEnded() as ended:
                    yield ended
                    return
                case None:
                    yield None
                case _:
                    pass
            if wait_until is not None and time.monotonic() >= wait_until:
                yield TextDelta(pending_text(pending.name, pending.approval_id))
                yield RunEnded(status=RunStatus.SUCCEEDED)
                return

    async def whole(self, *, hold: bool) -> Whole:
        """Read on to the end; `hold` says whether to wait a while for a parked run's approval."""
        answer = Whole()
        wait_until: float | None = None
        async for recorded in self.events():
            match recorded.event if recorded else None:
                case TextDelta(text):
                    answer.text += text
                case ThinkingDelta(text):
                    answer.thinking += text
                case Corrected():
                    # It answered anew, and that is the answer.
                    answer.text, answer.wired = "", Wired()
                case ToolCall() as call:
                    answer.calls.append(call)
                case WireDelta() as wired:
                    answer.wired.add(wired)
                case ApprovalNeeded() as needed if self.parks_at(needed):
                    answer.approval = needed
                    wait_until = time.monotonic() + (self.runner.approval_hold_s if hold else 0)
                    if not hold:
                        # Until the run is parked, so that what the answer says of it is true.
                        await self.runner.wait()
                case RunEnded() as ended:
                    answer.ended, answer.approval = ended, None
                    return answer
                case _:
                    pass
            if wait_until is not None and time.monotonic() >= wait_until:
                return answer
        return answer
