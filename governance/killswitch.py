"""The kill switch: one agent, or all of a workspace. What runs ends, and nothing begins, in every process."""

from uuid import UUID

import structlog
from django.db import transaction
from django.utils import timezone

from agents.models import OPEN_STATUSES, Agent, AgentStatus, Run, RunStatus
from agents.runs.closing import close_parked
from agents.runs.live import clear_stopped, kill_runs, mark_stopped
from agents.services import set_status
from agents.tasks import run_async
from atom.ground import audit, journal
from atom.ground.models import Scope
from atom.ground.principal import Principal
from governance.models import Oversight
from governance.oversight import locked_oversight
from governance.telling import AWAY

log = structlog.get_logger(__name__)


def set_kill_switch(*, principal: Principal, on: bool, reason: str) -> Oversight:
    """Stop all agents of the workspace, or free them again.

    Operators, approvers and owners may stop; only owners free. The verdict is deny with the next action that is
    judged; runs are told at once, and again by the sweep as long as the switch is on.
    """
    principal.require(Scope.SUPERVISE if on else Scope.ADMIN)
    state = _switch(principal, on, reason)
    if not on:
        free(principal.workspace_id)
    else:
        end_runs(workspace_id=principal.workspace_id)
    return state


@transaction.atomic
def _switch(principal: Principal, on: bool, reason: str) -> Oversight:
    state = locked_oversight(principal.workspace_id)
    state.is_stopped = on
    state.stopped_reason = reason if on else ""
    state.stopped_by = principal.username if on else ""
    state.stopped_at = timezone.now() if on else None
    state.save(update_fields=["is_stopped", "stopped_reason", "stopped_by", "stopped_at"])
    audit.append(
        workspace_id=principal.workspace_id,
        actor=principal.username,
        event="kill_switch.on" if on else "kill_switch.off",
        details={"reason": reason},
    )
    return state


def kill_agent(*, agent: Agent, principal: Principal, reason: str) -> Agent:
    """Pause one agent and end what it does; `resume/` frees it. Raises Forbidden, and Conflict for a retired one."""
    principal.require(Scope.SUPERVISE)
    with transaction.atomic():
        paused = set_status(agent=agent, status=AgentStatus.PAUSED, reason=reason, by=principal.username)
        audit.append(
            workspace_id=agent.workspace_id,
            actor=principal.username,
            event="agent.killed",
            details={"agent": agent.pk, "slug": agent.slug, "reason": reason},
        )
    end_runs(workspace_id=agent.workspace_id, agent_id=agent.pk)
    return paused


def end_runs(*, workspace_id: UUID, agent_id: UUID | None = None) -> int:
    """End the open runs of an agent, or of the whole workspace, in whichever process; gives how many there were.

    The mark comes first: a run that is opened after they were listed finds it when it begins.
    """
    runs = Run.objects.filter(workspace_id=workspace_id, status__in=OPEN_STATUSES)
    try:
        mark_stopped(agent_id or workspace_id)
        journal.settle()
        if agent_id is not None:
            runs = runs.filter(agent_id=agent_id)
        found = list(runs.values_list("pk", "status"))
        kill_runs([run_id for run_id, _ in found])
        if parked := [run_id for run_id, status in found if status == RunStatus.WAITING_APPROVAL]:
            run_async(close_parked(parked))
    except AWAY:
        # Without the store no run can go on for long, and the stop itself stands in the database.
        log.warning("runs_not_told_to_stop", workspace=str(workspace_id), agent=str(agent_id))
        return 0
    return len(found)


def free(workspace_id: UUID) -> None:
    try:
        clear_stopped(workspace_id)
    except AWAY:
        # The mark falls away by itself within seconds.
        log.warning("stop_not_forgotten", workspace=str(workspace_id))


def enforce_stops() -> int:
    """End again whatever runs in a stopped workspace; gives how many runs that were."""
    stopped = Oversight.objects.filter(is_stopped=True).values_list("workspace_id", flat=True)
    return sum(end_runs(workspace_id=workspace_id) for workspace_id in stopped)
