"""Stepping into a run that goes on: each step is evidence, kept and audited in the transaction that takes it."""

from functools import partial

from django.db import transaction

from agents.models import Run
from agents.runs import wishes
from agents.runs.closing import cancel_run
from atom.ground import audit
from atom.ground.database import in_db
from atom.ground.models import Scope
from atom.ground.principal import Principal
from governance.models import Intervention, InterventionKind
from governance.supervision.signals import intervened


@transaction.atomic
def pause(*, run: Run, principal: Principal) -> Run:
    """Hold the run before its next call of a model or tool, and its next word. Conflict when it is held, or over."""
    principal.require(Scope.SUPERVISE)
    held = wishes.pause(run.pk)
    _record(held, principal, InterventionKind.PAUSE)
    return held


@transaction.atomic
def resume(*, run: Run, principal: Principal) -> Run:
    """Let a paused run go on; Conflict when it is not paused, or over."""
    principal.require(Scope.SUPERVISE)
    freed = wishes.resume(run.pk)
    _record(freed, principal, InterventionKind.RESUME)
    return freed


@transaction.atomic
def correct(*, run: Run, principal: Principal, text: str) -> Run:
    """Put the operator's words into the conversation: an answer that is under way breaks off and is given anew.

    Conflict when the run is over.
    """
    principal.require(Scope.SUPERVISE)
    corrected = wishes.correct(run.pk, text=text, author=principal.username)
    _record(corrected, principal, InterventionKind.CORRECT, text)
    return corrected


async def terminate(*, run: Run, principal: Principal, reason: str = "") -> None:
    """End the run at once, wherever it is; Conflict when it is over.

    Kept before it is done, so that nothing ends without evidence. The second operator only asks again.
    """
    principal.require(Scope.SUPERVISE)
    await cancel_run(await in_db(_record_termination, run, principal, reason), "terminate")


@transaction.atomic
def _record_termination(run: Run, principal: Principal, reason: str) -> Run:
    found = wishes.locked_open(run.pk)
    if not Intervention.objects.filter(run=found, kind=InterventionKind.TERMINATE).exists():
        _record(found, principal, InterventionKind.TERMINATE, reason)
    return found


def _record(run: Run, principal: Principal, kind: InterventionKind, text: str = "") -> None:
    Intervention.objects.create(
        workspace_id=run.workspace_id,
        run=run,
        agent_id=run.agent_id,
        operator_id=principal.user_id,
        kind=kind,
        text=text,
    )
    audit.append(
        workspace_id=run.workspace_id,
        actor=principal.username,
        event=f"run.{PAST[kind]}",
        details={"run": run.pk, "agent": run.agent.slug, "text": text},
    )
    told = {"run_id": run.pk, "agent_id": run.agent_id, "kind": str(kind)}
    transaction.on_commit(partial(intervened.send, sender=Intervention, **told))


PAST = {
    InterventionKind.PAUSE: "paused",
    InterventionKind.RESUME: "resumed",
    InterventionKind.CORRECT: "corrected",
    InterventionKind.TERMINATE: "terminated",
}
