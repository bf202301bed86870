"""Feedback row by row: lists, the queue of what waits for a reviewer, links, reviewers."""

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from uuid import UUID

from django.db.models import QuerySet
from django.utils import timezone

from agents import queries as agent_queries
from agents.models import Message
from atom.ground.errors import Conflict, NotFound
from atom.ground.models import Scope
from atom.ground.principal import Principal
from feedback.models import Feedback, FeedbackLink, FeedbackStatus, Reviewer
from feedback.rollups import CORRECTED, NEGATIVE, POSITIVE

SENTIMENTS = {"positive": POSITIVE, "negative": NEGATIVE, "neutral": ~POSITIVE & ~NEGATIVE}


@dataclass(frozen=True, slots=True)
class Filter:
    """Which feedback. None or empty: all of it; an empty category or prompt version cannot be asked for."""

    agent: str = ""
    session: UUID | None = None
    run: UUID | None = None
    message: UUID | None = None
    provider: str = ""
    model: str = ""
    prompt_version: str = ""
    category: str = ""
    tag: str = ""
    status: str = ""
    sentiment: str = ""
    rating: int | None = None
    is_corrected: bool | None = None
    mine: bool = False
    since: date | None = None
    until: date | None = None


def feedback_of(principal: Principal, wanted: Filter | None = None) -> QuerySet[Feedback]:
    """What is said in this workspace, withdrawn words left out; a filter that names nothing here is NotFound."""
    found = Feedback.objects.filter(workspace_id=principal.workspace_id, withdrawn_at=None)
    found = found.select_related("agent", "user")
    if wanted is None:
        return found
    found = _about(found, principal, wanted)
    for name in ("provider", "model", "prompt_version", "category", "status", "rating"):
        if value := getattr(wanted, name):
            found = found.filter(**{name: value})
    if wanted.mine:
        found = found.filter(user_id=principal.user_id)
    if wanted.sentiment:
        found = found.filter(SENTIMENTS[wanted.sentiment])
    if wanted.is_corrected is not None:
        found = found.filter(CORRECTED if wanted.is_corrected else ~CORRECTED)
    if wanted.tag:
        # Tags are a JSON list of plain words; a quoted word is found on both databases.
        found = found.filter(tags__icontains=f'"{wanted.tag.lower()}"')
    if wanted.since:
        found = found.filter(created_at__gte=_midnight(wanted.since))
    if wanted.until:
        found = found.filter(created_at__lt=_midnight(wanted.until) + timedelta(days=1))
    return found


def _about(found: QuerySet[Feedback], principal: Principal, wanted: Filter) -> QuerySet[Feedback]:
    if wanted.agent:
        found = found.filter(agent=agent_queries.get_agent(principal, wanted.agent))
    if wanted.session:
        found = found.filter(session=agent_queries.get_session(principal, wanted.session))
    if wanted.run:
        found = found.filter(run=agent_queries.get_run(principal, wanted.run))
    if wanted.message:
        found = found.filter(message=agent_queries.get_message(principal, wanted.message))
    return found


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time.min, timezone.get_current_timezone())


def get_feedback(principal: Principal, feedback_id: UUID) -> Feedback:
    found = feedback_of(principal).select_related("message").filter(pk=feedback_id).first()
    if found is None:
        raise NotFound("There is no such feedback.")
    return found


def get_answer(principal: Principal, reference: UUID) -> Message:
    """The message with this id, or the answer of the run with it; NotFound for what is unknown or foreign."""
    run = agent_queries.runs_of(principal).filter(pk=reference).first()
    if run is None:
        try:
            return agent_queries.get_message(principal, reference)
        except NotFound as exc:
            raise NotFound("There is no message or run with this id.", param="message_id") from exc
    answer = agent_queries.answer_of(run)
    if answer is None:
        raise Conflict("This run has no answer to judge.", param="run_id")
    return answer


def categories_of(principal: Principal) -> list[str]:
    """What feedback and reviewers' specialties are called in this workspace."""
    said = feedback_of(principal).order_by().values_list("category", flat=True).distinct()
    trusted = reviewers_of(principal).order_by().values_list("category", flat=True).distinct()
    return sorted({*said, *trusted} - {""})


def queue_of(principal: Principal, *, is_mine: bool = False) -> QuerySet[Feedback]:
    """What waits for a review that this person may give, the oldest first."""
    waiting = feedback_of(principal).filter(status=FeedbackStatus.PENDING).select_related("message", "assignee")
    if Scope.APPROVE not in principal.scopes:
        special = set(reviewers_of(principal).filter(user_id=principal.user_id).values_list("category", flat=True))
        waiting = waiting.exclude(user_id=principal.user_id)
        waiting = waiting if "" in special else waiting.filter(category__in=special)
    if is_mine:
        waiting = waiting.filter(assignee_id=principal.user_id)
    return waiting.order_by("created_at")


def reviewers_of(principal: Principal) -> QuerySet[Reviewer]:
    return Reviewer.objects.filter(workspace_id=principal.workspace_id).select_related("user")


def get_reviewer(principal: Principal, reviewer_id: UUID) -> Reviewer:
    found = reviewers_of(principal).filter(pk=reviewer_id).first()
    if found is None:
        raise NotFound("There is no such reviewer.")
    return found


def links_of(principal: Principal) -> QuerySet[FeedbackLink]:
    """Owners and approvers see all links, anybody else those they made."""
    links = FeedbackLink.objects.filter(workspace_id=principal.workspace_id)
    return links if Scope.APPROVE in principal.scopes else links.filter(created_by_id=principal.user_id)


def get_link(principal: Principal, link_id: UUID) -> FeedbackLink:
    found = links_of(principal).filter(pk=link_id).first()
    if found is None:
        raise NotFound("There is no such feedback link.")
    return found
