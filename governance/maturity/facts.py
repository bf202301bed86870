"""What can be counted of an agent since its last change of level: runs, reviewed actions, ratings, proposals."""

from dataclasses import dataclass
from datetime import datetime

from django.db.models import QuerySet

from agents import gate
from agents.models import Agent
from governance.maturity.reviews import CHAT
from governance.maturity.wilson import interval
from governance.models import (
    Approval,
    ApprovalStatus,
    Decision,
    LevelChange,
    Review,
    ReviewStatus,
    RunEvidence,
    TrainingTask,
)

# The newest of each kind speak; what lies longer back than that is forgiven.
NEWEST = 200
_DECIDED = (ApprovalStatus.APPROVED, ApprovalStatus.EXECUTED, ApprovalStatus.FAILED, ApprovalStatus.REJECTED)


@dataclass(frozen=True, slots=True)
class Share:
    """So many hits of so many, with the ends of the 95 % Wilson interval."""

    hits: float
    count: int

    @property
    def value(self) -> float:
        return self.hits / self.count if self.count else 0.0

    @property
    def low(self) -> float:
        return interval(self.hits, self.count).low

    @property
    def high(self) -> float:
        return interval(self.hits, self.count).high


@dataclass(frozen=True, slots=True)
class Facts:
    """Counts of one agent. `right` is of the actions that a person looked at, `unedited` of the proposals decided."""

    runs: int
    untouched: Share
    succeeded: Share
    right: Share
    rating: Share
    unedited: Share
    kinds: int
    confidence: float


def last_change_at(agent: Agent) -> datetime:
    """When the counters of the agent's evidence started."""
    last = LevelChange.objects.filter(agent=agent).order_by("-created_at").first()
    return last.created_at if last else agent.created_at


def facts_of(agent: Agent, since: datetime, speaks_from: int, *, newest: int = NEWEST) -> Facts:
    """What happened since then; of reviewed actions those of complexity `speaks_from` and above."""
    runs = RunEvidence.objects.filter(agent=agent, started_at__gte=since).exclude(is_success=None)
    looked_at = list(runs.order_by("-started_at").values_list("is_success", "interventions")[:newest])
    proposals = Approval.objects.filter(
        agent=agent, created_at__gte=since, decided_by__isnull=False, status__in=_DECIDED
    )
    return Facts(
        runs=runs.count(),
        untouched=Share(sum(not stepped_in for _, stepped_in in looked_at), len(looked_at)),
        succeeded=Share(sum(bool(well) for well, _ in looked_at), len(looked_at)),
        right=_right(agent, since, proposals.filter(decision__complexity__gte=speaks_from), speaks_from, newest),
        rating=_ratings(agent, since, newest),
        unedited=_as_share([_is_as_proposed(*row) for row in _newest_proposals(proposals, newest)]),
        kinds=_kinds(agent, since),
        confidence=float(agent.confidence),
    )


def _as_share(values: list[bool]) -> Share:
    return Share(sum(values), len(values))


def _newest_proposals(proposals: QuerySet[Approval], newest: int) -> list[tuple[str, int]]:
    return list(proposals.order_by("-created_at").values_list("status", "revision")[:newest])


def _is_as_proposed(status: str, revision: int) -> bool:
    return status != ApprovalStatus.REJECTED and revision == 1


def _right(agent: Agent, since: datetime, proposals: QuerySet[Approval], speaks_from: int, newest: int) -> Share:
    """Actions that a person found right as they were, of all that a person looked at: asked for, or spot-checked."""
    seen = proposals.order_by("-created_at").values_list("created_at", "status", "revision")[:newest]
    found = [(at, _is_as_proposed(status, revision)) for at, status, revision in seen]
    checked = Review.objects.filter(agent=agent, decision__complexity__gte=speaks_from, created_at__gte=since)
    checked = checked.exclude(status=ReviewStatus.PENDING).order_by("-created_at")
    found += [(at, status == ReviewStatus.RIGHT) for at, status in checked.values_list("created_at", "status")[:newest]]
    found.sort(reverse=True)
    return _as_share([is_right for _, is_right in found[:newest]])


def _ratings(agent: Agent, since: datetime, newest: int) -> Share:
    """What people who watched thought: of supervised runs (1 to 5), of training tasks (0 to 1); as values in [0, 1]."""
    rated = RunEvidence.objects.filter(agent=agent, started_at__gte=since, rating__isnull=False)
    trained = TrainingTask.objects.filter(agent=agent, completed_at__gte=since)
    stars = rated.order_by("-started_at").values_list("rating", flat=True)[:newest]
    values = [(number - 1) / 4 for number in stars if number is not None]
    shown = trained.order_by("-completed_at").values_list("performance", flat=True)[:newest]
    values += [performance for performance in shown if performance is not None]
    return Share(sum(values), len(values))


def _kinds(agent: Agent, since: datetime) -> int:
    """How many different actions it did or proposed; chatting is none."""
    done = Decision.objects.filter(agent=agent, created_at__gte=since).exclude(decision=gate.Decision.DENY)
    return done.exclude(action=CHAT).order_by().values("action").distinct().count()
