"""Giving feedback, and judging it."""

from datetime import datetime
from uuid import UUID

import structlog
from django.db import transaction
from django.utils import timezone
from kombu.exceptions import OperationalError

from agents import queries as agent_queries
from agents.models import Agent, Message
from atom.ground import audit
from atom.ground.errors import BadRequest, Conflict
from atom.ground.models import Scope
from atom.ground.principal import Principal
from feedback.models import DirtyHour, Feedback, FeedbackStatus
from feedback.rollups import hour_of
from feedback.signals import feedback_given, feedback_judged
from feedback.tasks import aggregate_feedback

log = structlog.get_logger(__name__)


@transaction.atomic
def give_feedback(
    *,
    principal: Principal,
    message_id: UUID | None = None,
    run_id: UUID | None = None,
    thumb: str = "",
    rating: int | None = None,
    correction: str = "",
    comment: str = "",
    category: str = "",
) -> Feedback:
    """Keep what somebody said about an answer.

    Names the answer by its message or its run: NotFound when it is unknown or foreign, BadRequest when nothing was
    said, Conflict when the run has no answer. Thumbs and ratings are accepted at once, corrections wait for a review.
    """
    correction, comment, category = correction.strip(), comment.strip(), category.strip()
    if not (thumb or rating or correction or comment):
        raise BadRequest("Give at least one of thumb, rating, correction, comment.")
    message = _answer(principal, message_id, run_id)
    run = message.run
    # An assistant's message may hold nothing but tool calls: blocked, or still waiting for a person.
    if run is None or not message.text.strip():
        raise Conflict("This run has no answer to judge.")
    given = Feedback.objects.create(
        workspace_id=principal.workspace_id,
        agent_id=run.agent_id,
        session_id=run.session_id,
        run=run,
        message=message,
        user_id=principal.user_id,
        thumb=thumb,
        rating=rating,
        correction=correction,
        comment=comment,
        category=category,
        status=FeedbackStatus.PENDING if correction else FeedbackStatus.ACCEPTED,
    )
    # What was said stands in its row; the trail holds that it was said, because it moves what an agent may do.
    _record(given, principal, "feedback.given", {"thumb": thumb, "rating": rating})
    _changed(given.agent_id, given.created_at)
    transaction.on_commit(lambda: feedback_given.send(sender=Feedback, feedback_id=given.id))
    return given


def _answer(principal: Principal, message_id: UUID | None, run_id: UUID | None) -> Message:
    if message_id is not None:
        message = agent_queries.get_message(principal, message_id)
        if message.role != Message.Role.ASSISTANT:
            raise BadRequest("Feedback is about an agent's answer.", param="message_id")
        if run_id is not None and message.run_id != run_id:
            raise BadRequest("This message belongs to another run.", param="run_id")
        return message
    if run_id is None:
        raise BadRequest("Name the answer: message_id or run_id.", param="message_id")
    answer = agent_queries.answer_of(agent_queries.get_run(principal, run_id))
    if answer is None:
        raise Conflict("This run has no answer to judge.", param="run_id")
    return answer


@transaction.atomic
def adjudicate(*, feedback: Feedback, principal: Principal, accepted: bool, note: str = "") -> Feedback:
    """Accept or reject; the same decision twice is a Conflict, the opposite one turns it round."""
    principal.require(Scope.APPROVE)
    status = FeedbackStatus.ACCEPTED if accepted else FeedbackStatus.REJECTED
    changed = (
        Feedback.objects.filter(pk=feedback.pk)
        .exclude(status=status)
        .update(status=status, adjudicated_by_id=principal.user_id, adjudicated_at=timezone.now(), note=note)
    )
    if not changed:
        raise Conflict(f"This feedback is {status} already.")
    _record(feedback, principal, f"feedback.{status}", {"note": note})
    _changed(feedback.agent_id, feedback.created_at)
    transaction.on_commit(lambda: feedback_judged.send(sender=Feedback, feedback_id=feedback.id))
    feedback.refresh_from_db()
    return feedback


def _record(feedback: Feedback, principal: Principal, event: str, more: dict[str, object]) -> None:
    details = {
        "feedback": feedback.id,
        "run": feedback.run_id,
        "agent": feedback.agent_id,
        "slug": feedback.agent.slug,
        **more,
    }
    audit.append(workspace_id=feedback.workspace_id, actor=principal.username, event=event, details=details)


def _changed(agent_id: UUID, at: datetime) -> None:
    """Have the hour summed again: at once if the broker is there, at the latest by the schedule."""
    DirtyHour.objects.create(agent=Agent(pk=agent_id), hour=hour_of(at))
    transaction.on_commit(_ask_for_sums)


def _ask_for_sums() -> None:
    try:
        aggregate_feedback.apply_async(retry=False)
    except OperationalError:
        log.warning("aggregation_not_queued")
