"""What an agent's runs show of it: each ended run is looked at once, and may be rated by who watched it."""

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from uuid import UUID

from django.db import transaction
from django.db.models import Max
from django.utils import timezone

from agents.models import OPEN_STATUSES, Agent, Run, RunEvent, RunStatus
from agents.runs.live import KILLED
from agents.services import DIRECT
from atom.ground import audit
from atom.ground.errors import Conflict
from atom.ground.models import Scope
from atom.ground.principal import Principal
from governance import guardrails
from governance.catalogue import CHANGE, READ
from governance.maturity.confidence import Cause, apply_change, locked
from governance.maturity.levels import punish
from governance.models import Approval, ApprovalStatus, ConfidenceEvent, Decision, RunEvidence, Source
from governance.oversight import oversight_of
from governance.signals import evidence_gained

SUCCEEDED, FAILED = ConfidenceEvent.RUN_SUCCEEDED, ConfidenceEvent.RUN_FAILED
# By whether the run succeeded, and whether something of level 3 or 4 was judged in it; GOVERNANCE's table.
WORTH = {
    (True, False): Decimal("0.01"),
    (False, False): Decimal("-0.02"),
    (True, True): Decimal("0.05"),
    (False, True): Decimal("-0.10"),
}
MOST_FOR_INTERVENTIONS = Decimal("0.05")
# Events of a run by which a person stepped in.
STEPPED_IN = "corrected"
# A signal may be lost with its process; the sweep looks back this far, and leaves the signal this much time.
LOOK_BACK, LEAVE_TIME = timedelta(days=1), timedelta(seconds=30)


def that_count(run_ids: Sequence[UUID]) -> list[UUID]:
    """Those of the runs that show something of an agent: plain calls of nobody in particular do not."""
    return list(Run.objects.filter(pk__in=run_ids).exclude(agent__slug=DIRECT).values_list("pk", flat=True))


@transaction.atomic
def settle_run(run_id: UUID) -> RunEvidence | None:
    """Write down what an ended run showed, and move the agent's confidence; once. None where there is nothing to do."""
    run = Run.objects.select_related("agent").filter(pk=run_id).exclude(status__in=OPEN_STATUSES).first()
    if run is None or run.agent.slug == DIRECT:
        return None
    agent = locked(run.agent_id)
    if RunEvidence.objects.filter(run=run).exists():
        return None
    highest = Decision.objects.filter(run=run).aggregate(highest=Max("complexity"))["highest"] or READ
    evidence = RunEvidence.objects.create(
        workspace_id=run.workspace_id,
        agent=agent,
        run=run,
        is_success=_is_success(run),
        complexity=highest,
        interventions=interventions_in(run),
        started_at=run.created_at,
    )
    if evidence.is_success is not None:
        word = "succeeded" if evidence.is_success else "failed"
        apply_change(
            agent.pk,
            Cause(
                event=SUCCEEDED if evidence.is_success else FAILED,
                delta=WORTH[evidence.is_success, highest >= CHANGE],
                reason=f"A run of complexity {highest} {word}.",
                source=Source.RUN,
                source_id=run.pk,
            ),
        )
    _check_spend(agent, run)
    return evidence


def _is_success(run: Run) -> bool | None:
    """None for a run that was cancelled, interrupted or killed: that says nothing of the agent."""
    if run.status == RunStatus.SUCCEEDED:
        return True
    is_own_failure = run.status in {RunStatus.FAILED, RunStatus.TERMINATED} and run.error_code != KILLED
    return False if is_own_failure else None


def interventions_in(run: Run) -> int:
    """How often people stepped in: refused or edited an action, corrected the run, ended it."""
    asked = Approval.objects.filter(run=run)
    refused = asked.filter(status=ApprovalStatus.REJECTED).count()
    edited = asked.filter(revision__gt=1, decided_by__isnull=False).exclude(status=ApprovalStatus.REJECTED).count()
    corrected = RunEvent.objects.filter(run=run, type=STEPPED_IN).count()
    ended = run.status == RunStatus.TERMINATED and run.error_code != KILLED
    return refused + edited + corrected + int(ended)


def recount_interventions(run: Run) -> None:
    """After a decision that came when the run had been looked at already."""
    RunEvidence.objects.filter(run=run).update(interventions=interventions_in(run))


def _check_spend(agent: Agent, run: Run) -> None:
    """Money is spent without an action that the gate could ask about: a run's end is where it is noticed."""
    rules = oversight_of(agent.workspace_id)
    if guardrails.is_overspent(agent.pk, rules, timezone.now()):
        punish(agent, reason=guardrails.overspent_sentence(agent, rules), source=Source.RUN, source_id=run.pk)


@transaction.atomic
def rate_run(*, run: Run, principal: Principal, rating: int) -> RunEvidence:
    """Say how well a run went that one has supervised: 1 to 5, once. Conflict before its end and the second time."""
    principal.require(Scope.SUPERVISE)
    if run.is_open:
        raise Conflict("This run has not ended yet.")
    settle_run(run.pk)
    evidence = RunEvidence.objects.filter(run=run).first()
    if evidence is None:
        raise Conflict("Runs of this agent are not rated.")
    if not RunEvidence.objects.filter(run=run, rating=None).update(rating=rating):
        raise Conflict("This run was rated already.")
    fewer = min(MOST_FOR_INTERVENTIONS, Decimal("0.01") * evidence.interventions)
    reason = f"A supervised run was rated {rating} of 5, with {evidence.interventions} interventions."
    delta = Decimal(rating - 1) / 40 - fewer
    apply_change(run.agent_id, Cause(ConfidenceEvent.RUN_SUPERVISED, delta, reason, Source.RUN, run.pk))
    audit.append(
        workspace_id=run.workspace_id,
        actor=principal.username,
        event="run.rated",
        details={"run": run.pk, "agent": run.agent_id, "rating": rating},
    )
    transaction.on_commit(lambda: evidence_gained.send(sender=RunEvidence, agent_id=run.agent_id))
    evidence.refresh_from_db()
    return evidence


def missed_run_ids() -> list[UUID]:
    """Ended runs that nobody has looked at, because the word of their end was lost."""
    now = timezone.now()
    ended = Run.objects.filter(ended_at__gt=now - LOOK_BACK, ended_at__lt=now - LEAVE_TIME, evidence=None)
    return list(ended.exclude(agent__slug=DIRECT).exclude(status__in=OPEN_STATUSES).values_list("pk", flat=True))
