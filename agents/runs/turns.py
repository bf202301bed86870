"""Turns of a conversation that goes on by itself: begun, continued, resumed, queued; and how it stands."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID, uuid4

from django.db import transaction
from django.db.models import QuerySet

from agents import queries
from agents.models import OPEN_STATUSES, Message, QueuedTurn, Run, RunStatus, Session
from agents.parts import to_json
from agents.runs.records import Turning
from agents.runs.start import start_chat, start_queued
from atom.ground.database import in_db
from atom.ground.errors import AtomError, Conflict, SessionBusy
from atom.ground.idempotency import Claim, bind
from atom.ground.principal import Principal
from llm.messages import Part

CONTINUE, RESUME = "continue", "resume"
# What a label means; others are not supported.
CAPABILITIES = {"": "", "ask": CONTINUE, "exec": CONTINUE, "max": CONTINUE, CONTINUE: CONTINUE, RESUME: RESUME}
DOOR = "control"


class UnsupportedCapability(AtomError):
    code = "unsupported_capability"
    type = "invalid_request_error"
    status = 501


def capability_of(label: str) -> str:
    """What the label asks for: trimmed, in any case. Raises UnsupportedCapability with the list."""
    wanted = label.strip().lower()
    if wanted not in CAPABILITIES:
        known = [name for name in CAPABILITIES if name]
        raise UnsupportedCapability(
            f"This capability is not supported. There are: {', '.join(known)}.",
            param="capability",
            details={"capabilities": known},
        )
    return CAPABILITIES[wanted]


async def begin(
    *,
    principal: Principal,
    session: Session,
    parts: Sequence[Part],
    capability: str,
    may_queue: bool = False,
    model: str = "",
    claim: Claim | None = None,
) -> UUID:
    """Begin the session's next turn, or queue it; gives the id of the message that it answers.

    Raises SessionBusy, and Conflict where there is nothing to go on with.
    """
    message_id = uuid4()
    try:
        goes_on_with = None if parts else await in_db(_goes_on_with, session, capability)
        await start_chat(
            principal=principal,
            agent=session.agent,
            session=session,
            parts=parts,
            door=DOOR,
            model=model,
            is_background=True,
            claim=claim,
            turning=Turning(message_id, capability=capability),
        )
    except SessionBusy:
        if not may_queue or not parts or principal.token_id is None:
            raise
        await in_db(_queue, session, principal.token_id, parts, Turning(message_id, capability=capability), claim)
        # The turn before may have ended while this one was written down.
        await start_queued(session.pk)
        return message_id
    return goes_on_with or message_id


@transaction.atomic
def _queue(session: Session, token_id: UUID, parts: Sequence[Part], turning: Turning, claim: Claim | None) -> None:
    if claim is not None and turning.message_id is not None:
        bind(claim, turning.message_id)
    QueuedTurn.objects.create(
        id=turning.message_id or uuid4(),
        session=session,
        token_id=token_id,
        door=DOOR,
        capability=turning.capability,
        parts=[to_json(part) for part in parts],
    )


def _goes_on_with(session: Session, capability: str) -> UUID:
    """The last thing that was said to the agent; a session without is nothing to go on with."""
    if Run.objects.filter(session=session, status__in=OPEN_STATUSES).exists():
        raise SessionBusy("This session is still working on an answer.")
    last = _last_run(session)
    if capability == RESUME and (last is None or last.status != RunStatus.INTERRUPTED):
        raise Conflict("The last run of this session was not interrupted: there is nothing to resume.")
    said = Message.objects.filter(session=session, role=Message.Role.USER).order_by("-created_at").first()
    if said is None:
        raise Conflict("Nothing has been said in this session yet: send a message.")
    return said.pk


def _last_run(session: Session) -> Run | None:
    return Run.objects.filter(session=session).order_by("-created_at").first()


async def start_stranded() -> int:
    """Begin the queued turns of sessions that nobody works on; returns when they have ended, with how many."""
    waiting = await in_db(_stranded)
    begun = [runner for session_id in waiting if (runner := await start_queued(session_id)) is not None]
    for runner in begun:
        await runner.wait()
    return len(begun)


def _stranded() -> list[UUID]:
    queued = QueuedTurn.objects.values_list("session_id", flat=True).distinct().order_by()
    busy = Run.objects.filter(session__in=queued, status__in=OPEN_STATUSES).values_list("session_id", flat=True)
    return sorted(set(queued) - set(busy))


@dataclass(frozen=True, slots=True)
class Standing:
    """How a session stands: `running`, `stable`, `waiting_approval` or `interrupted`, and its last run."""

    session: Session
    status: str
    message_count: int
    run: Run | None


def standing_of(principal: Principal, session_id: UUID) -> Standing:
    """Raises NotFound for a foreign session."""
    session = queries.get_session(principal, session_id)
    return Standing(session, _status(session), listed_messages(session).count(), _last_run(session))


def listed_messages(session: Session) -> QuerySet[Message]:
    """What people and the agent said, without the results of tools; the first is first."""
    said = Message.objects.filter(session=session).exclude(role=Message.Role.TOOL).select_related("run")
    return said.order_by("created_at", "id")


def _status(session: Session) -> str:
    last = _last_run(session)
    if last is not None and last.status == RunStatus.WAITING_APPROVAL:
        return "waiting_approval"
    if (last is not None and last.is_open) or QueuedTurn.objects.filter(session=session).exists():
        return "running"
    return "interrupted" if last is not None and last.status == RunStatus.INTERRUPTED else "stable"
