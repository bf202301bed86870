"""The runner: one loop of model and judged tool calls, until the model is finished."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any, assert_never
from uuid import UUID, uuid4

import structlog

from agents import gate
from agents.fields import exact
from agents.models import Run, RunStatus
from agents.runs import journaled, records
from agents.runs.attempts import encode
from agents.runs.calls import ToolCalls
from agents.runs.events import (
    NAMES,
    ApprovalNeeded,
    Corrected,
    RunEnded,
    RunEvent,
    TextDelta,
    ThinkingDelta,
    WireDelta,
    data_of,
)
from agents.runs.live import asked_to_stop
from agents.runs.steering import Steering
from agents.runs.streams import RunLog
from agents.runs.turn import Parked, TooManyRounds, Turn, with_results
from agents.tools.own import OwnTool
from atom.ground import journal
from atom.ground.database import in_db
from atom.ground.errors import AtomError
from llm import events as llm_events
from llm import sticky
from llm.attempts import Attempt
from llm.chat import Call
from llm.events import Usage
from llm.messages import Message, Part, Text, Thought, ToolResult
from llm.messages import ToolCall as ModelToolCall
from llm.sticky import ServedBy

log = structlog.get_logger(__name__)

# A model that has not come to an end after so many rounds of tools is going in circles.
MAX_ROUNDS = 16


class Runner:
    """One run in this process. `error` says why it failed, once it has."""

    def __init__(self, turn: Turn, run_log: RunLog) -> None:
        self.turn = turn
        self.run_id = turn.run_id
        self.is_background = turn.is_background
        self.log = run_log
        self.served = replace(turn.before)
        self.error: AtomError | None = None
        self._request = turn.request
        self._text: list[str] = []
        self._kept: list[tuple[int, str, dict[str, Any]]] = []
        self._tried: list[tuple[int, Attempt]] = []
        self._call: Call | None = None
        # What the store was told last of the attempts, to tell it news only.
        self._told: tuple[int, int, Usage | None] = (0, 0, None)
        run_log.used = self._news
        # Why each answer ended; mostly there is one.
        self._reasons: list[str] = ["stop"]
        # False: the model's last answer broke off.
        self._is_said = False
        self._started = time.monotonic()
        self._stop_as: RunStatus | None = None
        # From here on nothing may cancel it: its row and its listeners wait for the end.
        self._is_ending = False
        self._stop_reason = ""
        self._stop_code = ""
        self.task: asyncio.Task[None] | None = None
        self._last: ServedBy | None = None
        # Its row may not be there yet, so nothing may point to it.
        self._is_journaled = turn.is_journaled
        self.steering = Steering(self.run_id, self._emit)
        self._calls = ToolCalls(turn, self.steering, emit=self._emit, say=self._say)

    @property
    def is_paused(self) -> bool:
        return self.steering.is_paused

    @property
    def is_heard(self) -> bool:
        return self.log.is_heard

    @property
    def created_at(self) -> datetime:
        return self.turn.created_at

    @property
    def session_id(self) -> UUID | None:
        return self.turn.session_id

    @property
    def own_tools(self) -> dict[str, OwnTool]:
        return self.turn.own_tools

    @property
    def approval_hold_s(self) -> float:
        return self.turn.approval_hold_s

    # --- What others may do with a run -----------------------------------------------------------------
    @property
    def owner_ids(self) -> tuple[UUID, UUID]:
        return self.turn.workspace_id, self.turn.agent_id

    def stop(self, status: RunStatus, *, reason: str, code: str = "") -> None:
        """End the run at the next await; what it said until now is kept. A run that is ending already just ends.

        `code` is the error's; without one it is the status.
        """
        if self._stop_as is None and self.task is not None and not self._is_ending:
            self._stop_as, self._stop_reason, self._stop_code = status, reason, code
            self.task.cancel()

    def wake(self) -> None:
        self._calls.wake()

    def look(self) -> None:
        self.steering.look()

    async def wait(self) -> None:
        """Until the run has ended or parked. Cancelling the wait leaves the run alone."""
        if self.task is not None:
            await asyncio.wait([self.task])

    # --- The run -----------------------------------------------------------------------------------------
    async def run(self) -> None:
        """Do the turn, and leave exactly one `RunEnded`, unless the run is parked."""
        try:
            await self._run()
        finally:
            self.log.let_go()

    async def _run(self) -> None:
        try:
            if self.turn.is_continued:
                await self.steering.look_now()
            await self._rounds()
        except Parked:
            return
        except asyncio.CancelledError:
            if self.task is not None:
                self.task.uncancel()
            await self._end(self._stop_as or RunStatus.INTERRUPTED)
        except AtomError as exc:
            self.error = exc
            await self._end(RunStatus.FAILED)
        except Exception:
            log.exception("run_failed", run_id=str(self.run_id))
            self.error = AtomError()
            await self._end(RunStatus.FAILED)
        else:
            try:
                await self._end(RunStatus.SUCCEEDED)
            except records.NotOver:
                # A correction came with the last words: they are not the last.
                self.steering.is_corrected, self._is_ending, self.steering.is_over = True, False, False
                await self._run()

    async def _rounds(self) -> None:
        if self.turn.held is not None:
            held = self.turn.held
            await self._emit(ApprovalNeeded(str(held.approval_id), held.call_id, held.tool, held.reason))
            is_released = await self._calls.release_held(held.approval_id, held.call_id, held.tool)
            self._reasons = ["tool_calls" if is_released else "stop"]
            return
        rounds = 0
        while rounds < MAX_ROUNDS:
            await self.steering.stand_by()
            while self.steering.is_corrected:
                await self._hear()
            thoughts, calls = list[Thought](), list[ModelToolCall]()
            self._is_said = False
            with self.steering.until_corrected():
                thoughts, calls = await self._ask_model()
                self._is_said = True
            if self.steering.is_corrected:
                # What it wanted to do, it wanted before it heard.
                continue
            rounds += 1
            if not calls:
                return
            said: list[Part] = [*thoughts, *([Text("".join(self._text))] if self._text else [])]
            self._text = []
            await self._into_database()
            judged = await self._calls.judge(calls, self._request.messages)
            for choice in {call.choice for call in calls}:
                self._reasons[choice] = "tool_calls" if choice in judged.released else "stop"
            if judged.is_answer:
                # The client has the next word: it runs the calls and asks again with their results.
                self._text = [part.text for part in said if isinstance(part, Text)] + self._text
                return
            await in_db(records.add_round, self.run_id, [*said, *calls], judged.results)
            answer = Message("assistant", (*said, *calls))
            self._request = replace(self._request, messages=(*self._request.messages, answer))
            if judged.is_pending and await self._park():
                raise Parked
            self._request = with_results(self._request, await in_db(results_of, self.run_id))
        raise TooManyRounds(f"The model was still calling tools after {MAX_ROUNDS} rounds.")

    async def _hear(self) -> None:
        """Put the corrections that wait behind what was said until now; the model is asked with them next."""
        said: list[Part] = [Text("".join(self._text))] if self._text else []
        taken = await self.steering.take(said, is_complete=self._is_said)
        if not taken:
            return
        self._text = []
        heard = [Message("assistant", tuple(said))] if said else []
        heard += [Message("user", (Text(one.text),)) for one in taken]
        self._request = replace(self._request, messages=(*self._request.messages, *heard))
        for one in taken:
            await self._emit(Corrected(one.text, by=one.author))

    async def _ask_model(self) -> tuple[list[Thought], list[ModelToolCall]]:
        """Stream one answer to the listeners; its tool calls, and the thoughts behind them, are kept back."""
        turn = self.turn
        call = Call(
            workspace_id=turn.workspace_id,
            request=self._request,
            models=turn.models,
            allowed=turn.allowed,
            purse=gate.Purse(turn.spender),
            prefer=await self._used_to(),
            wire=turn.wire,
        )
        self._call = call
        calls: list[ModelToolCall] = []
        thoughts: list[Thought] = []
        before = self.served.attempts
        try:
            # Closed at once when the run is stopped, so that the provider stops too.
            async with aclosing(call.events()) as answer:
                async for event in answer:
                    # Before anybody hears of the event: the answer's headers go out with the first.
                    self.served.provider, self.served.model = call.provider, call.model
                    self.served.attempts = before + call.attempts
                    match event:
                        case llm_events.TextDelta(text):
                            self._text.append(text)
                            await self._emit_delta(TextDelta(text))
                        case llm_events.ThinkingDelta(text):
                            await self._emit_delta(ThinkingDelta(text))
                        case llm_events.WireDelta():
                            await self._emit_delta(WireDelta(**asdict(event)))
                        case llm_events.ThoughtReady(thought):
                            thoughts.append(thought)
                        case llm_events.ToolCallReady(tool_call):
                            calls.append(tool_call)
                        case llm_events.Finished(reason, _, others):
                            self._reasons = [reason, *others]
                            await self._get_used_to(call.served)
                        case _:
                            assert_never(event)
        finally:
            self._call = None
            self.served.attempts = before + call.attempts
            self._account(call.tried)
        return thoughts, calls

    async def _used_to(self) -> ServedBy | None:
        """Who served the last round, or else the session: its provider still has the beginning in its cache."""
        if self._last is None and self.turn.session_id is not None:
            self._last = await sticky.recall(self.turn.session_id)
        return self._last

    async def _get_used_to(self, served: ServedBy | None) -> None:
        if served is not None and self.turn.session_id is not None:
            await sticky.remember(self.turn.session_id, served)
        self._last = served

    async def _emit_delta(self, event: TextDelta | ThinkingDelta | WireDelta) -> None:
        await self.steering.stand_by()
        if self.served.first_token_s is None:
            self.served.first_token_s = time.monotonic() - self._started
        await self.log.emit(event)

    async def _emit(self, event: RunEvent) -> None:
        """An event that stays in the run's history, unlike a delta, which stays as the message's text."""
        seq = await self.log.emit(event)
        self._kept.append((seq, NAMES[type(event)], data_of(event)))

    def _account(self, tried: Sequence[Attempt]) -> None:
        """Keep what became of a call to the models, and what it used."""
        self._tried += self._placed(tried)
        for one in tried:
            self.served.add(one)

    def _placed(self, tried: Sequence[Attempt]) -> list[tuple[int, Attempt]]:
        return list(enumerate(tried, self.turn.tried_before + len(self._tried)))

    def _news(self) -> bytes | None:
        """What the run has used so far, for whoever closes it should this process die; None without news."""
        call = self._call
        state = (len(self._tried), call.attempts if call else 0, call.used if call else None)
        if state == self._told:
            return None
        self._told = state
        return encode([*self._tried, *self._placed(call.so_far() if call else ())])

    async def _park(self) -> bool:
        """Leave the run to whoever decides last; False when all was decided meanwhile.

        Everything said so far stands in the store before: the next process counts on from it.
        """
        self.steering.is_over = True
        await self.log.flush()
        so_far = self._outcome(RunStatus.WAITING_APPROVAL, None)
        self._kept = []
        is_parked = await in_db(records.park_run, run_id=self.run_id, request=self._request, so_far=so_far)
        if is_parked and (wanted := await asked_to_stop(self.run_id)):
            # Somebody stopped it between the question and the parking, and found no parked run to close.
            self._stop_as = wanted
            raise asyncio.CancelledError
        self.steering.is_over = is_parked
        return is_parked

    async def _say(self, text: str, choice: int = 0) -> None:
        await self.steering.stand_by()
        if choice:
            await self.log.emit(WireDelta(choice, text=text))
            return
        text = f"\n{text}" if self._text else text
        self._text.append(text)
        await self.log.emit(TextDelta(text))

    # --- The end -----------------------------------------------------------------------------------------------
    async def _end(self, status: RunStatus) -> None:
        """Write the run down, then tell the listeners: what they read after the end is already there.

        Raises NotOver for a success that a correction forestalls.
        """
        self._is_ending = self.steering.is_over = True
        served, usage = self.served, self.served.usage
        error = self.error.body()["error"] if self.error else None
        if error is None and status != RunStatus.SUCCEEDED:
            code = self._stop_code or str(status)
            error = {"message": f"The run ended early: {self._stop_reason or status}.", "code": code}
            error["type"] = "run_ended"
        is_written, message_id = await self._write_down(status, error)
        ended = RunEnded(
            status=status,
            error=error,
            message_id=message_id,
            finish_reason=self._reasons[0],
            others=self._reasons[1:] or None,
            usage=asdict(usage),
            cost_usd=None if served.cost is None else exact(served.cost),
            provider=served.provider,
            model=served.model,
        )
        try:
            await self.log.emit(ended)
            await self.log.flush()
        finally:
            if is_written:
                await in_db(records.announce_ends, [self.run_id])

    async def _write_down(self, status: RunStatus, error: dict[str, Any] | None) -> tuple[bool, str | None]:
        """Keep the end. Gives whether this process has to announce it, and the id of the answer's message."""
        # Why the model stopped stands in no column. Not among what is kept before: the run may not be over yet.
        end = (self.log.seq + 1, NAMES[RunEnded], {"finish_reason": self._reasons[0]})
        outcome = replace(self._outcome(status, error), events=[*self._kept, end])
        answer: list[Part] = [Text("".join(self._text))] if self._text else []
        try:
            if self._is_journaled:
                message_id = uuid4()
                if await journaled.end(self.run_id, outcome, answer, message_id):
                    return False, str(message_id) if answer or status == RunStatus.SUCCEEDED else None
                await self._into_database()
            message = await in_db(
                records.end_run,
                run_id=self.run_id,
                outcome=outcome,
                answer=answer,
                is_own=True,
                hears=self._hears(status),
            )
        except records.NotOver:
            raise
        except Exception:
            # The listeners are told all the same; the sweep over lost runs will close the row.
            log.exception("run_not_recorded", run_id=str(self.run_id))
            return False, None
        return True, str(message.id) if message else None

    async def _into_database(self) -> None:
        """From here on the run is a row like any other."""
        if self._is_journaled:
            await journal.written()
            self._is_journaled = False

    def _hears(self, status: RunStatus) -> bool:
        """Whether a correction can still change the answer: not once the client has calls to run."""
        return status == RunStatus.SUCCEEDED and "tool_calls" not in self._reasons and self.turn.held is None

    def _outcome(self, status: RunStatus, error: dict[str, Any] | None) -> records.Outcome:
        return records.Outcome(
            status=status,
            provider=self.served.provider,
            model=self.served.model,
            time_to_first_token_s=self.served.first_token_s,
            error_code=error["code"] if error else "",
            error_message=error["message"] if error else "",
            events=self._kept,
            tried=self._tried,
        )


def results_of(run_id: UUID) -> list[ToolResult]:
    return records.parked_results(Run.objects.get(pk=run_id))
