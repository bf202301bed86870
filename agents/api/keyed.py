"""A run that an Idempotency-Key began: followed, given again, gone on with, or made anew."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from django.http import HttpRequest

from agents import queries
from agents.api.answers import approval_asked_for, started
from agents.models import Run, RunStatus
from agents.runs.events import pending_text
from agents.runs.past import past_of
from agents.runs.runner import Runner
from agents.runs.start import Attached, attached
from agents.runs.streams import last_seq
from atom.ground.api.once import is_joining, take_begun
from atom.ground.database import in_db
from atom.ground.idempotency import Asked, Claim, KeyInFlight, Stored, free, take_over
from atom.ground.principal import Principal
from llm.messages import Request


async def run_for(
    request: HttpRequest, principal: Principal, asked: Request, *, door: str, claim: Claim | None
) -> Runner | Attached:
    """The run that answers a request on `/v1`: its key's, the one that waited for people, or a new one."""
    earlier = await earlier_run(claim, is_joining=is_joining(request))
    if isinstance(earlier, Attached):
        return earlier
    approval_id = approval_asked_for(request) or earlier
    return await started(principal, asked, door=door, approval_id=approval_id, claim=claim, may_wait=True)


async def earlier_run(claim: Claim | None, *, is_joining: bool, is_told: bool = True) -> Attached | UUID | None:
    """The key's run, if its answer is to be given (again); the approval that its answer waits for; None: begin one.

    A run that was stopped, lost its process, or failed before any model was asked does not count: the key is free.
    Nor does one whose events do not tell its answer (`is_told`), once it has ended.
    Raises KeyInFlight while the run is at work.
    """
    if claim is None or claim.bound_to is None:
        return None
    run = await in_db(_find, claim.bound_to)
    if run is not None and run.is_open:
        # A run that was parked once has been answered with `approval_pending`: asking again goes on with it.
        if not is_joining and run.parked is None:
            raise KeyInFlight
        return await in_db(attached, run.id)
    if run is not None and (approval_id := await in_db(pending_approval, run)) is not None:
        await in_db(take_over, claim)
        return approval_id
    if run is not None and is_told and _counts(run):
        return await again(run)
    await in_db(take_over, claim)
    return None


@asynccontextmanager
async def claimed(wanted: Asked | None) -> AsyncIterator[Claim | None]:
    """The key for doors without answers of their own: what is remembered is the run, and who asks again joins it."""
    if wanted is None:
        yield None
        return
    claim = await take_begun(wanted)
    if isinstance(claim, Stored):
        raise RuntimeError("this door keeps no answers")
    try:
        yield claim
    except BaseException:
        await in_db(free, claim, only_unbound=True)
        raise


async def again(run: Run) -> Attached:
    """A run that has ended, from its events or, when the store has forgotten them, from the database."""
    found = await in_db(attached, run.id)
    found.is_replayed = True
    if not await last_seq(run.id):
        found.past = await in_db(past_of, run)
    return found


async def note_outcome(claim: Claim | None, runner: Runner | Attached) -> None:
    """Tell the key's claim whether anything happened, and whether the answer is the last word."""
    if claim is None:
        return
    claim.has_effect = runner.served.attempts > 0
    run = await in_db(_find, runner.run_id)
    if run is not None:
        claim.is_final = not run.is_open and await in_db(pending_approval, run) is None


def pending_approval(run: Run) -> UUID | None:
    """The approval of a call for the client that the run's answer says is still pending."""
    answer = queries.answer_of(run)
    if answer is None:
        return None
    for event in queries.events_of(run).filter(type="approval_needed"):
        if pending_text(event.data["name"], event.data["approval_id"]) in answer.text:
            return UUID(event.data["approval_id"])
    return None


def _find(run_id: UUID) -> Run | None:
    return Run.objects.filter(pk=run_id).first()


def _counts(run: Run) -> bool:
    return run.status == RunStatus.SUCCEEDED or (run.status == RunStatus.FAILED and run.attempts > 0)
