"""Ending runs from outside: asked of the process that has them, or written down for those that none has."""

from collections.abc import Sequence
from uuid import UUID

from agents.fields import exact
from agents.models import Run, RunStatus
from agents.runs import records
from agents.runs.events import RunEnded
from agents.runs.live import KILLED, STOP_WORDS, ask_to_stop
from agents.runs.streams import RunLog, last_seq
from atom.ground.database import in_db
from atom.ground.errors import Conflict
from llm.messages import Part


async def cancel_run(run: Run, verb: str = "cancel") -> None:
    """Stop the run wherever it is; Conflict when it has ended."""
    if not run.is_open:
        raise Conflict("This run has ended already.")
    await ask_to_stop(run.id, verb)
    # Looked at after the asking: a run that parks later than this finds the wish itself.
    await in_db(run.refresh_from_db, fields=["status"])
    if run.status != RunStatus.WAITING_APPROVAL:
        return
    status = STOP_WORDS[verb]
    outcome = records.Outcome(
        status=status,
        error_code=str(status),
        error_message=f"The run was {status} while it waited.",
    )
    await close_run(run.id, outcome, answer=())


async def close_parked(run_ids: Sequence[UUID]) -> None:
    """End runs that wait for approvals and whose agent was stopped."""
    for run_id in run_ids:
        outcome = records.Outcome(
            status=RunStatus.TERMINATED,
            error_code=KILLED,
            error_message="The run ended while it waited: its agent was stopped.",
        )
        await close_run(run_id, outcome, answer=())


async def close_run(run_id: UUID, outcome: records.Outcome, answer: Sequence[Part]) -> bool:
    """End a run that no process has: its row, then its stream. False when somebody else was quicker."""
    had = await in_db(records.end_run, run_id=run_id, outcome=outcome, answer=answer)
    run = await in_db(Run.objects.get, pk=run_id)
    if run.status != outcome.status:
        return False
    run_log = RunLog(run_id, seq=await last_seq(run_id))
    error = {"message": outcome.error_message, "type": "run_ended", "code": outcome.error_code}
    ended = RunEnded(
        status=outcome.status,
        error=error,
        message_id=str(had.id) if had else None,
        usage={"input_tokens": run.input_tokens, "output_tokens": run.output_tokens},
        cost_usd=None if run.cost_usd is None else exact(run.cost_usd),
        provider=run.provider,
        model=run.model,
    )
    await run_log.emit(ended)
    await run_log.flush()
    return True
