"""What every change of feedback brings with it: sums to be made again, facts told, webhooks written."""

import time
from dataclasses import dataclass
from functools import partial
from uuid import UUID

import structlog
from django.db import transaction
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from agents.models import Agent
from feedback.models import DirtyHour, Feedback, Part
from feedback.rollups import hour_of
from feedback.signals import ACCEPTED, REVERSED, feedback_adjudicated
from feedback.tasks import aggregate_feedback

log = structlog.get_logger(__name__)

# After the broker failed to answer it is not asked for this long; the schedule finds what was not queued.
LOOK_AWAY_S = 5.0

_away_until = 0.0


@dataclass(frozen=True, slots=True)
class Evidence:
    """What of a feedback counts about its agent, now: an accepted opinion (`positive`, `neutral`, `negative`), an
    accepted correction."""

    agent_id: UUID
    user_id: UUID | None
    opinion: str = ""
    is_corrected: bool = False

    @property
    def is_any(self) -> bool:
        return bool(self.opinion) or self.is_corrected


def evidence_in(given: Feedback) -> Evidence:
    return Evidence(
        agent_id=given.agent_id,
        user_id=given.user_id,
        opinion=given.get_sentiment() if given.is_accepted(Part.OPINION) else "",
        is_corrected=given.is_accepted(Part.CORRECTION),
    )


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
    global _away_until  # noqa: PLW0603  # one memory a process
    if time.monotonic() < _away_until:
        return
    try:
        aggregate_feedback.apply_async(retry=False)
    except (OperationalError, RedisError, OSError):
        _away_until = time.monotonic() + LOOK_AWAY_S
        log.warning("aggregation_not_queued")
