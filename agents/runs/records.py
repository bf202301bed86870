"""What the database keeps of a run: opened, parked, answered, ended. Every change of status is conditional."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias
from uuid import UUID, uuid4

from django.db import transaction
from django.utils import timezone

from agents.models import OPEN_STATUSES, Agent, Correction, Message, QueuedTurn, Run, RunEvent, RunStatus, Session
from agents.parts import request_to_json, to_json
from agents.runs.attempts import Tried, keep_attempts
from agents.signals import runs_ended
from agents.variants import prompt_version
from atom.ground import journal
from atom.ground.database import one_writer
from atom.ground.errors import SessionBusy
from atom.ground.idempotency import Claim, bind
from llm.messages import Part, Request, Text, ToolCall, ToolResult

# What a run's history keeps of its events: seq, type, data.
# Its `seq`, its type, and what it says.
Event: TypeAlias = tuple[int, str, dict[str, Any]]
Events: TypeAlias = Sequence[Event]


class NotOver(Exception):  # not an error: there is more for the model to hear
    """A correction came while the run was about to end."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended, as its row keeps it."""

    status: str
    provider: str = ""
    model: str = ""
    time_to_first_token_s: float | None = None
    error_code: str = ""
    error_message: str = ""
    events: Events = ()
    tried: Tried = ()


@dataclass(frozen=True, slots=True)
class Turning:
    """What a conversation's turn brings along besides what is said."""

    # The user's message gets this id; with `is_queued` it is the queued turn's own, which is gone then.
    message_id: UUID | None = None
    is_queued: bool = False
    capability: str = ""


PLAIN = Turning()


def run_of(
    *,
    agent: Agent,
    user_id: UUID | None,
    door: str,
    model: str,
    session: Session | None = None,
    token_id: UUID | None = None,
    allowed_models: Collection[str] | None = None,
    capability: str = "",
    variant: UUID | None = None,
) -> Run:
    """A run that begins now, not saved yet."""
    return Run(
        capability=capability,
        prompt_version=prompt_version(agent.system_prompt),
        variant=variant,
        workspace_id=agent.workspace_id,
        agent=agent,
        session=session,
        user_id=user_id,
        token_id=token_id,
        door=door,
        model_requested=model,
        status=RunStatus.RUNNING,
        allowed_models=None if allowed_models is None else sorted(allowed_models),
    )


@transaction.atomic
def open_run(
    *,
    agent: Agent,
    user_id: UUID | None,
    door: str,
    model: str,
    parts: Sequence[Part],
    session: Session | None = None,
    token_id: UUID | None = None,
    allowed_models: Collection[str] | None = None,
    claim: Claim | None = None,
    turning: Turning = PLAIN,
    variant: UUID | None = None,
) -> Run:
    """A running run with the user's message; SessionBusy while the session has another one open.

    With a `claim` the run carries its Idempotency-Key from here on, or is not opened when the key was lost.
    """
    if session is not None:
        locked = Session.objects.select_for_update().get(pk=session.pk)
        if Run.objects.filter(session=locked, status__in=OPEN_STATUSES).exists():
            raise SessionBusy("This session is still working on an answer.")
        locked.updated_at = timezone.now()
        text = next((part["text"] for part in map(to_json, parts) if part["type"] == "text"), "")
        locked.title = locked.title or " ".join(text.split())[:80]
        locked.save(update_fields=["updated_at", "title"])
    queued = QueuedTurn.objects.filter(pk__in=[turning.message_id])
    if turning.is_queued and not queued.delete()[0]:
        raise SessionBusy("Another process has this turn.")
    run = run_of(
        capability=turning.capability,
        agent=agent,
        user_id=user_id,
        token_id=token_id,
        door=door,
        model=model,
        session=session,
        allowed_models=allowed_models,
        variant=variant,
    )
    run.save(force_insert=True)
    if claim is not None:
        bind(claim, run.id)
    if parts:
        add_message(run, Message.Role.USER, parts, message_id=turning.message_id)
    return run


def add_message(
    run: Run,
    role: str,
    parts: Sequence[Part],
    *,
    is_complete: bool = True,
    author: str = "",
    message_id: UUID | None = None,
    at: datetime | None = None,
) -> Message:
    return Message.objects.create(
        id=message_id or uuid4(),
        created_at=at or timezone.now(),
        workspace_id=run.workspace_id,
        session_id=run.session_id,
        run=run,
        role=role,
        parts=[to_json(part) for part in parts],
        is_complete=is_complete,
        author=author,
    )


def add_round(run_id: UUID, parts: Sequence[Part], results: Sequence[ToolResult]) -> None:
    """An assistant's message that called tools, and what those that ran gave back."""
    with transaction.atomic():
        run = Run.objects.get(pk=run_id)
        add_message(run, Message.Role.ASSISTANT, parts)
        for result in results:
            add_message(run, Message.Role.TOOL, [result])


def unanswered_calls(run: Run) -> set[str]:
    """Ids of the tool calls of this run that have no result yet."""
    called: set[str] = set()
    answered: set[str] = set()
    for message in run.messages.all():
        called |= {part["id"] for part in message.parts if part["type"] == "tool_call"}
        answered |= {part["call_id"] for part in message.parts if part["type"] == "tool_result"}
    return called - answered


@transaction.atomic
def park_run(*, run_id: UUID, request: Request, so_far: Outcome | None = None) -> bool:
    """Let the run wait for its approvals. False when they were all answered meanwhile: the run goes on.

    Of `so_far`, who served, the events and the attempts are kept: another process goes on from there.
    """
    run = Run.objects.select_for_update().get(pk=run_id)
    if so_far is not None:
        keep_events([(run_id, event) for event in so_far.events])
        keep_attempts(run, so_far.tried)
        Run.objects.filter(pk=run_id).update(**_served(so_far))
    run.parked = request_to_json(request)
    going_on = RunStatus.PAUSED if run.is_paused else RunStatus.RUNNING
    run.status = RunStatus.WAITING_APPROVAL if unanswered_calls(run) else going_on
    run.save(update_fields=["parked", "status"])
    return run.status == RunStatus.WAITING_APPROVAL


@transaction.atomic
def answer_call(*, run_id: UUID, call_id: str, content: str) -> bool:
    """Give a parked call its result, once. True when it was the last one: the caller goes on with the run.

    A paused run is gone on with by whoever resumes it.
    """
    run = Run.objects.select_for_update().get(pk=run_id)
    if call_id not in unanswered_calls(run):
        return False
    add_message(run, Message.Role.TOOL, [ToolResult(call_id, content)])
    if run.status != RunStatus.WAITING_APPROVAL or run.is_paused or unanswered_calls(run):
        return False
    run.status = RunStatus.RUNNING
    run.save(update_fields=["status"])
    return True


def parked_results(run: Run) -> list[ToolResult]:
    """The results of the run's calls, in the order in which they came."""
    return [
        ToolResult(part["call_id"], part["content"])
        for message in run.messages.filter(role=Message.Role.TOOL).order_by("created_at")
        for part in message.parts
        if part["type"] == "tool_result"
    ]


@one_writer()
@transaction.atomic
def end_run(
    *,
    run_id: UUID,
    outcome: Outcome,
    answer: Sequence[Part],
    is_own: bool = False,
    hears: bool = False,
    at: datetime | None = None,
    message_id: UUID | None = None,
) -> Message | None:
    """Close the run once, with its answer; None (and nothing changed) when somebody else had closed it.

    `is_own`: the run's own process closes it, which knows best what was used: that is kept in any case. It also
    announces the end itself, once its listeners have heard.
    `hears`: it may still take corrections, so NotOver is raised when one waits. `at` and `message_id`: when it ended
    and what its answer is called, where that was said before.
    """
    run = Run.objects.select_for_update().get(pk=run_id)
    if hears and run.corrections.filter(taken_at=None).exists():
        raise NotOver
    changed = Run.objects.filter(pk=run_id, status__in=OPEN_STATUSES).update(
        status=outcome.status,
        **_served(outcome),
        error_code=outcome.error_code,
        error_message=outcome.error_message,
        parked=None,
        ended_at=at or timezone.now(),
    )
    if changed or is_own:
        keep_attempts(run, outcome.tried)
    if not changed:
        return None
    keep_events([(run_id, event) for event in outcome.events])
    message = None
    if answer or outcome.status == RunStatus.SUCCEEDED:
        is_complete = outcome.status == RunStatus.SUCCEEDED
        message = add_message(
            run, Message.Role.ASSISTANT, answer, is_complete=is_complete, message_id=message_id, at=at
        )
    if not is_own:
        transaction.on_commit(lambda: announce_ends([run_id]))
    return message


def announce_ends(run_ids: list[UUID]) -> None:
    """Tell the upper rooms; their receivers may have to wait for the broker."""
    runs_ended.send(sender=Run, run_ids=run_ids)


def _served(outcome: Outcome) -> dict[str, Any]:
    """Who served, as columns of a run. What is not known is left as it is: the run may have parked with it."""
    found = {
        "provider": outcome.provider,
        "model": outcome.model,
        "time_to_first_token_s": outcome.time_to_first_token_s,
    }
    return {name: value for name, value in found.items() if value not in ("", None)}


def keep_events(events: Iterable[tuple[UUID, Event]]) -> None:
    """Write down events of runs; those that are there already stay as they are."""
    rows = [RunEvent(run_id=run_id, seq=seq, type=kind, data=data) for run_id, (seq, kind, data) in events]
    RunEvent.objects.bulk_create(rows, ignore_conflicts=True)


def pending_call(run: Run, call_id: str) -> ToolCall | None:
    """The call with this id, as the model made it."""
    for message in run.messages.filter(role=Message.Role.ASSISTANT):
        for part in message.parts:
            if part["type"] == "tool_call" and part["id"] == call_id:
                return ToolCall(part["id"], part["name"], part["arguments"])
    return None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What operators want of a run, as its process finds it."""

    is_paused: bool
    is_corrected: bool


def wanted_of(run_id: UUID) -> Wanted:
    # The run may have been opened through the journal.
    journal.settle()
    is_paused = Run.objects.values_list("is_paused", flat=True).get(pk=run_id)
    return Wanted(is_paused, Correction.objects.filter(run_id=run_id, taken_at=None).exists())


@transaction.atomic
def take_corrections(run_id: UUID, *, said: Sequence[Part], is_complete: bool) -> list[Correction]:
    """Those that wait, now messages of the conversation after what the model has `said` until then; once."""
    waiting = list(Correction.objects.select_for_update().filter(run_id=run_id, taken_at=None))
    if not waiting:
        return []
    run = Run.objects.get(pk=run_id)
    if said:
        add_message(run, Message.Role.ASSISTANT, said, is_complete=is_complete)
    for one in waiting:
        add_message(run, Message.Role.USER, [Text(one.text)], author=one.author)
    Correction.objects.filter(pk__in=[one.pk for one in waiting]).update(taken_at=timezone.now())
    return waiting
