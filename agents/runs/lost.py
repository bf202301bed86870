"""Runs whose process died: closed as interrupted, with the text that had been streamed."""

from datetime import timedelta
from uuid import UUID

import structlog
from django.utils import timezone

from agents.models import Run, RunStatus
from agents.runs.attempts import decode
from agents.runs.closing import close_run
from agents.runs.events import Corrected, Recorded, TextDelta, ToolJudged
from agents.runs.live import LEASE_S, lease_key
from agents.runs.records import Outcome
from agents.runs.streams import recorded_events, used_of
from atom.ground import journal
from atom.ground.database import in_db
from atom.ground.store import store
from llm.messages import Text

log = structlog.get_logger(__name__)

# Runs that should have a process. A paused one has one too; one that waits for approval does not.
RUNNING = (RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.PAUSED)


def _candidates() -> list[UUID]:
    journal.settle()
    # A run is opened a moment before it gets its lease.
    before = timezone.now() - timedelta(seconds=LEASE_S)
    return list(Run.objects.filter(status__in=RUNNING, created_at__lt=before).values_list("pk", flat=True))


def streamed_text(events: list[Recorded]) -> str:
    """What was said since the last tool call or correction; what was said before it is a message of its own already."""
    said: list[str] = []
    for recorded in events:
        match recorded.event:
            case TextDelta(text):
                said.append(text)
            case ToolJudged() | Corrected():
                said.clear()
            case _:
                pass
    return "".join(said)


async def interrupt_lost_runs() -> int:
    """Close every running run without a lease; gives how many."""
    candidates = await in_db(_candidates)
    if not candidates:
        return 0
    pipe = store().pipeline(transaction=False)
    for run_id in candidates:
        pipe.exists(lease_key(run_id))
    leases = await pipe.execute()
    lost = [run_id for run_id, lease in zip(candidates, leases, strict=True) if not lease]
    return sum([await _interrupt(run_id) for run_id in lost])


async def _interrupt(run_id: UUID) -> bool:
    text = streamed_text(await recorded_events(run_id))
    used = await used_of(run_id)
    tried = decode(used) if used else []
    last = tried[-1][1] if tried else None
    outcome = Outcome(
        status=RunStatus.INTERRUPTED,
        provider=last.provider if last else "",
        model=last.model if last else "",
        tried=tried,
        error_code="interrupted",
        error_message="The process that ran this turn ended before the answer was complete.",
    )
    closed = await close_run(run_id, outcome, answer=[Text(text)] if text else [])
    if closed:
        log.warning("run_interrupted", run_id=str(run_id), kept_chars=len(text))
    return closed
