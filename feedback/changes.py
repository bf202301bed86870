"""What every change of feedback brings with it: sums to be made again, facts told, webhooks written."""

from functools import partial

from django.db import transaction

from agents.models import Agent
from feedback.evidence import Evidence, evidence_in
from feedback.models import DirtyHour, Feedback
from feedback.queueing import queue
from feedback.rollups import hour_of
from feedback.signals import ACCEPTED, REVERSED, feedback_adjudicated
from feedback.tasks import aggregate_feedback


def changed(given: Feedback, before: Evidence) -> None:
    """In the transaction of the change: mark the hour, and tell what counts differently once it is committed."""
    DirtyHour.objects.create(agent=Agent(pk=given.agent_id), hour=hour_of(given.created_at))
    transaction.on_commit(ask_for_sums)
    after = evidence_in(given)
    if after == before:
        return
    outcomes = [REVERSED] * before.is_any + [ACCEPTED] * after.is_any
    for outcome in outcomes:
        tell = partial(feedback_adjudicated.send, sender=Feedback, feedback_id=given.id, outcome=outcome)
        transaction.on_commit(tell)


def ask_for_sums() -> None:
    """Have what changed summed at once if the broker is there, at the latest by the schedule."""
    queue(aggregate_feedback)
