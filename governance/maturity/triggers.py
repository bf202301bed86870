"""Runs that a schedule, an event, another agent or a person wants: the agent's level says what becomes of it."""

from datetime import timedelta
from uuid import UUID

import structlog
from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone

from agents import gate
from agents.models import Agent, AgentStatus, Maturity, Run
from agents.runs.start import start_chat
from agents.services import create_session
from agents.tasks import run_async
from atom.ground import audit
from atom.ground.database import in_db
from atom.ground.errors import AgentPaused, AtomError
from atom.ground.principal import Principal
from atom.ground.tokens import principal_of_user
from governance.execution import finish
from governance.judging import judge_action
from governance.models import (
    CLOSED_STATUSES,
    Approval,
    ApprovalStatus,
    TrainingStatus,
    TrainingTask,
    TriggeredRun,
    TriggerStatus,
)
from governance.presence import is_operator_present
from governance.signals import run_wanted
from llm.messages import Text

log = structlog.get_logger(__name__)

# What starting a run counts as, for agents that must ask: `run` is among the dangerous actions.
ACTION = "triggered_run"
WAITS = timedelta(hours=24)
MOST_TRIES = 3
# A start that fails is tried again after so long; one whose worker died, after the same.
TRY_AGAIN = timedelta(seconds=60)


@transaction.atomic
def request_run(*, agent: Agent, principal: Principal, trigger: str, message: str) -> TriggeredRun:
    """Note that somebody wants this agent to run, and decide by its level.

    A student learns (training task), an intern asks (approval), a supervised agent waits for an operator, an
    autonomous one runs. Raises AgentPaused for an agent that is not active.
    """
    if agent.status != AgentStatus.ACTIVE:
        raise AgentPaused(f"The agent {agent.slug} is {agent.status}.")
    wish = TriggeredRun(
        workspace_id=agent.workspace_id,
        agent=agent,
        trigger=trigger,
        message=message,
        requested_by_id=principal.user_id,
        expires_at=timezone.now() + WAITS,
    )
    if agent.maturity in {Maturity.STUDENT, Maturity.INTERN}:
        _ask_gate(wish)
    elif agent.maturity == Maturity.SUPERVISED and not is_operator_present(agent.workspace_id):
        wish.status, wish.reason = TriggerStatus.WAITING_OPERATOR, "It starts as soon as an operator is present."
    else:
        wish.status, wish.reason = TriggerStatus.QUEUED, "It starts at once."
    wish.save(force_insert=True)
    audit.append(
        workspace_id=agent.workspace_id,
        actor=principal.username,
        event="run.wanted",
        details={"triggered": wish.pk, "agent": agent.slug, "trigger": trigger, "status": str(wish.status)},
    )
    if wish.status == TriggerStatus.QUEUED:
        transaction.on_commit(lambda: run_wanted.send(sender=TriggeredRun, triggered_id=wish.pk))
    return wish


def _ask_gate(wish: TriggeredRun) -> None:
    """A level that may not start by itself: what the gate says of starting a run."""
    verdict = judge_action(
        gate.Action(
            workspace_id=wish.workspace_id,
            agent_id=wish.agent_id,
            name=ACTION,
            arguments={"trigger": wish.trigger, "message": wish.message},
            user_id=wish.requested_by_id,
        )
    )
    wish.reason = verdict.reason
    if verdict.is_allowed:
        wish.status = TriggerStatus.QUEUED
    elif verdict.approval_id is not None:
        wish.status, wish.approval_id = TriggerStatus.WAITING_APPROVAL, verdict.approval_id
        wish.expires_at = Approval.objects.values_list("expires_at", flat=True).get(pk=verdict.approval_id)
    else:
        open_tasks = TrainingTask.objects.filter(agent_id=wish.agent_id, action=ACTION, status=TrainingStatus.OPEN)
        wish.training = open_tasks.first()
        wish.status = TriggerStatus.TRAINING if wish.training else TriggerStatus.REFUSED


@transaction.atomic
def follow_approval(approval_id: UUID) -> None:
    """Let a run start whose approval was given, once; or note that it was not given."""
    wish = TriggeredRun.objects.filter(approval_id=approval_id, status=TriggerStatus.WAITING_APPROVAL).first()
    if wish is None:
        return
    approval = Approval.objects.select_related("agent").get(pk=approval_id)
    if approval.status == ApprovalStatus.APPROVED and finish(approval, status=ApprovalStatus.EXECUTED, by="atom"):
        TriggeredRun.objects.filter(pk=wish.pk).update(
            status=TriggerStatus.QUEUED, reason="It was approved.", expires_at=timezone.now() + WAITS
        )
        transaction.on_commit(lambda: run_wanted.send(sender=TriggeredRun, triggered_id=wish.pk))
    elif approval.current_status in CLOSED_STATUSES:
        is_late = approval.current_status == ApprovalStatus.EXPIRED
        status = TriggerStatus.EXPIRED if is_late else TriggerStatus.REFUSED
        TriggeredRun.objects.filter(pk=wish.pk).update(
            status=status, reason=f"Its approval is {approval.current_status}."
        )


def start(triggered_id: UUID) -> bool:
    """Start a queued run and see it through, unless another worker has it. True when this call started it."""
    now = timezone.now()
    free = TriggeredRun.objects.filter(pk=triggered_id, status=TriggerStatus.QUEUED, expires_at__gt=now)
    free = free.filter(Q(claimed_until=None) | Q(claimed_until__lt=now))
    if not free.update(claimed_until=now + TRY_AGAIN, tries=F("tries") + 1):
        return False
    wish = TriggeredRun.objects.select_related("agent").get(pk=triggered_id)
    if (changed := _changed_since(wish)) is not None:
        _set(wish, *changed)
        return False
    try:
        run_async(_run(wish))
    except AtomError as exc:
        is_over = wish.tries >= MOST_TRIES
        _set(wish, TriggerStatus.FAILED if is_over else TriggerStatus.QUEUED, exc.message)
        return False
    return True


def _changed_since(wish: TriggeredRun) -> tuple[TriggerStatus, str] | None:
    """What the agent's level of now makes of the wish, where that is no longer to start."""
    match wish.agent.maturity:
        case Maturity.STUDENT:
            return TriggerStatus.REFUSED, "The agent has become a student meanwhile."
        case Maturity.INTERN if wish.approval_id is None:
            return TriggerStatus.REFUSED, "The agent has become an intern meanwhile, and nobody approved this."
        case Maturity.SUPERVISED if not is_operator_present(wish.workspace_id):
            return TriggerStatus.WAITING_OPERATOR, "It starts as soon as an operator is present."
    return None


def _set(wish: TriggeredRun, status: TriggerStatus, reason: str) -> None:
    TriggeredRun.objects.filter(pk=wish.pk, run=None).update(status=status, reason=reason)


async def _run(wish: TriggeredRun) -> None:
    """Begin the run in the name of who asked for it, and stay with it to its end."""
    principal = await in_db(_principal_of, wish)
    session = await in_db(create_session, agent=wish.agent, principal=principal, title=wish.message)
    runner = await start_chat(
        principal=principal,
        agent=wish.agent,
        session=session,
        parts=[Text(wish.message)],
        door=f"trigger-{wish.trigger}",
        is_background=True,
    )
    await in_db(_started, wish, runner.run_id)
    await runner.wait()


def _principal_of(wish: TriggeredRun) -> Principal:
    if wish.requested_by_id is None:
        raise AgentPaused("Who asked for this run is gone.")
    return principal_of_user(wish.requested_by_id)


def _started(wish: TriggeredRun, run_id: UUID) -> None:
    TriggeredRun.objects.filter(pk=wish.pk).update(
        status=TriggerStatus.STARTED, run=Run(pk=run_id), reason="It was started.", claimed_until=None
    )


def due_ids() -> list[UUID]:
    """Wishes that can start now: queued ones that no worker has, and those whose operator has come.

    Also gives up what waited too long, and follows approvals whose closing nobody was told of.
    """
    now = timezone.now()
    waiting = TriggeredRun.objects.filter(status__in=(TriggerStatus.QUEUED, TriggerStatus.WAITING_OPERATOR))
    waiting.filter(expires_at__lte=now).update(status=TriggerStatus.EXPIRED, reason="Nobody came within its time.")
    for approval_id in TriggeredRun.objects.filter(status=TriggerStatus.WAITING_APPROVAL).values_list(
        "approval_id", flat=True
    ):
        if approval_id is not None:
            follow_approval(approval_id)
    watched = TriggeredRun.objects.filter(status=TriggerStatus.WAITING_OPERATOR).values_list("workspace_id", flat=True)
    present = [workspace_id for workspace_id in set(watched) if is_operator_present(workspace_id)]
    TriggeredRun.objects.filter(status=TriggerStatus.WAITING_OPERATOR, workspace__in=present).update(
        status=TriggerStatus.QUEUED, claimed_until=None
    )
    queued = TriggeredRun.objects.filter(status=TriggerStatus.QUEUED, tries__lt=MOST_TRIES)
    return list(queued.filter(Q(claimed_until=None) | Q(claimed_until__lt=now)).values_list("pk", flat=True))
