"""What goes on in a workspace, who looks on, and what people did about it; for those with the scope `supervise`."""

from dataclasses import dataclass
from uuid import UUID

from django.db.models import QuerySet

from agents import queries
from agents.models import OPEN_STATUSES, Run
from atom.ground.models import Scope, User
from atom.ground.principal import Principal
from governance import presence
from governance.models import Intervention

# Whoever wants more lists runs over the API.
SHOWN_MOST = 100


@dataclass(frozen=True, slots=True)
class Watch:
    """What an operator wants to see; nothing named: every run of the workspace."""

    run_id: UUID | None = None
    agent_id: UUID | None = None
    maturity: str = ""


def live_runs(principal: Principal, watch: Watch) -> QuerySet[Run]:
    """The runs that are not over, newest first."""
    principal.require(Scope.SUPERVISE)
    rows = queries.runs_of(principal).select_related("user").filter(status__in=OPEN_STATUSES)
    if watch.run_id is not None:
        rows = rows.filter(pk=watch.run_id)
    if watch.agent_id is not None:
        rows = rows.filter(agent_id=watch.agent_id)
    if watch.maturity:
        rows = rows.filter(agent__maturity=watch.maturity)
    return rows.prefetch_related("messages").order_by("-created_at")


def question_of(run: Run) -> str:
    """What the run was asked."""
    return next((message.text for message in run.messages.all() if message.role == "user"), "")


def operators_present(principal: Principal) -> list[str]:
    """The names of the workspace's operators who watched within the last five minutes."""
    principal.require(Scope.SUPERVISE)
    present = presence.operators_present(principal.workspace_id)
    return list(User.objects.filter(pk__in=present).order_by("username").values_list("username", flat=True))


def interventions_of(run: Run) -> QuerySet[Intervention]:
    """What people did to the run, in order; that a paused one was resumed is among it."""
    return Intervention.objects.filter(run=run).select_related("operator").order_by("at")
