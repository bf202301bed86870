"""What operators want of a run: it stands in the database, and the run's process, whichever it is, is told to look.

Every write here belongs into its caller's transaction, beside the evidence of who wanted it.
"""

from uuid import UUID

from django.conf import settings
from django.db import transaction

from agents.models import Correction, Run, RunStatus
from agents.runs import records
from agents.runs.live import LEASE_S, ask_to_look, lease_key, tell_to_look
from agents.runs.streams import heard_key
from agents.tasks import continue_run
from atom.ground import journal
from atom.ground.errors import Conflict
from atom.ground.store import sync_store


def locked_open(run_id: UUID) -> Run:
    """The run, for this transaction alone; Conflict when it has ended.

    The mark stands before the row is looked at: a run that ends after that looks at its row first, and one that ended
    before has its end in the journal.
    """
    ask_to_look(run_id)
    journal.settle()
    run = Run.objects.select_for_update(of=("self",)).select_related("agent").get(pk=run_id)
    if not run.is_open:
        raise Conflict("This run has ended already.")
    return run


@transaction.atomic
def pause(run_id: UUID) -> Run:
    """Let the run do nothing more until it is resumed. Conflict when it is paused, or has ended."""
    run = locked_open(run_id)
    if run.is_paused:
        raise Conflict("This run is paused already.")
    run.is_paused = True
    if run.status == RunStatus.RUNNING:
        run.status = RunStatus.PAUSED
    _save(run)
    return run


@transaction.atomic
def resume(run_id: UUID) -> Run:
    """Let it go on. Conflict when it is not paused, or has ended.

    One that waited for approvals meanwhile, and has them all by now, goes on in a worker.
    """
    run = locked_open(run_id)
    if not run.is_paused:
        raise Conflict("This run is not paused.")
    run.is_paused = False
    # It was parked, and whoever decided last left it to whoever resumes it.
    is_due = run.status == RunStatus.WAITING_APPROVAL and not records.unanswered_calls(run)
    if is_due or run.status == RunStatus.PAUSED:
        run.status = RunStatus.RUNNING
    _save(run)
    # Whoever waited for it may have gone while it stood still, and gets time to come back.
    sync_store().set(heard_key(run_id), b"1", px=int(settings.ATOM_ABANDON_AFTER * 1000))
    if is_due:
        sync_store().set(lease_key(run_id), b"1", px=int(LEASE_S * 1000))
        transaction.on_commit(lambda: continue_run.apply_async((str(run_id),), retry=False))
    return run


def _save(run: Run) -> None:
    run.save(update_fields=["is_paused", "status"])
    _tell(run.pk)


@transaction.atomic
def correct(run_id: UUID, *, text: str, author: str) -> Run:
    """Put `text` into the run's conversation before the model is asked next; Conflict when the run has ended."""
    run = locked_open(run_id)
    Correction.objects.create(run=run, text=text, author=author)
    _tell(run_id)
    return run


def _tell(run_id: UUID) -> None:
    # Again: the mark must outlive the commit, so that neither a lost word nor the end of this process undoes the wish.
    ask_to_look(run_id)
    transaction.on_commit(lambda: tell_to_look(run_id))
