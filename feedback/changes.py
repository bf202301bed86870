"""What every change of feedback brings with it: sums to be made again, facts told, an entry in the trail."""

from django.db import transaction
from django.dispatch import Signal

from agents.models import Agent
from atom.ground import audit
from atom.ground.queueing import queue
from feedback.models import DirtyHour, Feedback
from feedback.rollups import hour_of
from feedback.tasks import aggregate_feedback


def changed(given: Feedback, fact: Signal) -> None:
    """In the transaction of the change: mark the hour, and tell the fact once it is committed."""
    DirtyHour.objects.create(agent=Agent(pk=given.agent_id), hour=hour_of(given.created_at))
    transaction.on_commit(ask_for_sums)
    transaction.on_commit(lambda: fact.send(sender=Feedback, feedback_id=given.id))


def record(given: Feedback, actor: str, what: str, **more: object) -> None:
    """What was said stands in its row; the trail holds that it was said, because it moves what an agent may do."""
    details = {
        "feedback": given.id,
        "run": given.run_id,
        "agent": given.agent_id,
        "slug": given.agent.slug,
        "revision": given.revision,
        **more,
    }
    audit.append(workspace_id=given.workspace_id, actor=actor, event=f"feedback.{what}", details=details)


def ask_for_sums() -> None:
    """Have what changed summed at once if the broker is there, at the latest by the schedule."""
    queue(aggregate_feedback)
