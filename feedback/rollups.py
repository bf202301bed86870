"""Hourly sums of feedback. An hour is always summed whole from its rows, so order and repetition do not matter."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db import transaction
from django.db.models import Count, Q, QuerySet

from agents.models import Agent
from feedback.models import DirtyHour, Feedback, FeedbackHour, Thumb

_RATED_ONLY = Q(thumb="")
POSITIVE = Q(thumb=Thumb.UP) | _RATED_ONLY & Q(rating__gte=4)
NEGATIVE = Q(thumb=Thumb.DOWN) | _RATED_ONLY & Q(rating__lte=2)
CORRECTED = ~Q(correction="")
COUNTED = ("total", "positive", "negative", "neutral", "corrections", *(f"rating_{stars}" for stars in range(1, 6)))
# Hours summed in one go; the rest waits for the next round of the loop.
BATCH = 500


@dataclass(frozen=True, slots=True)
class Difference:
    """An hour whose stored sums are not what its rows say."""

    agent_id: UUID
    hour: datetime


def hour_of(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0)


def counted(rows: QuerySet[Feedback]) -> dict[str, int]:
    """The sums of these rows, by the names of `FeedbackHour`'s columns."""
    found: dict[str, int] = rows.aggregate(
        total=Count("pk"),
        positive=Count("pk", filter=POSITIVE),
        negative=Count("pk", filter=NEGATIVE),
        corrections=Count("pk", filter=CORRECTED),
        **{f"rating_{stars}": Count("pk", filter=Q(rating=stars)) for stars in range(1, 6)},
    )
    return {**found, "neutral": found["total"] - found["positive"] - found["negative"]}


def sums_of(agent_id: UUID, hour: datetime) -> dict[str, int]:
    end = hour + timedelta(hours=1)
    return counted(Feedback.objects.filter(agent_id=agent_id, created_at__gte=hour, created_at__lt=end))


@transaction.atomic
def sum_hour(agent_id: UUID, hour: datetime) -> None:
    """Make the hour's sums again from its rows."""
    # Two at work on one hour: the agent's row lets them in one after the other, so older sums never come last.
    agent = Agent.objects.select_for_update().filter(pk=agent_id).first()
    if agent is None:
        # Gone since, and its feedback with it.
        return
    FeedbackHour.objects.update_or_create(
        agent=agent, hour=hour, defaults={"workspace_id": agent.workspace_id, **sums_of(agent_id, hour)}
    )


def sum_dirty_hours() -> int:
    """Sum every hour that has changed; gives how many. A crash in between leaves the rest marked."""
    done = 0
    while marks := list(DirtyHour.objects.order_by("pk")[:BATCH]):
        for agent_id, hour in {(mark.agent_id, mark.hour) for mark in marks}:
            seen = [mark.pk for mark in marks if (mark.agent_id, mark.hour) == (agent_id, hour)]
            with transaction.atomic():
                sum_hour(agent_id, hour)
                # Only the marks seen before summing: a later one speaks of rows that may not be in it.
                DirtyHour.objects.filter(pk__in=seen).delete()
            done += 1
    return done


def recount(*, repair: bool) -> list[Difference]:
    """Every hour whose sums differ from its rows; with `repair` they are made again."""
    stored = {(row.agent_id, row.hour): row for row in FeedbackHour.objects.iterator(chunk_size=1000)}
    said = Feedback.objects.order_by().values_list("agent_id", "created_at")
    hours = {(agent_id, hour_of(at)) for agent_id, at in said.iterator(chunk_size=5000)}
    wrong = []
    for agent_id, hour in sorted({*hours, *stored}):
        row = stored.get((agent_id, hour))
        if row is None or any(getattr(row, name) != value for name, value in sums_of(agent_id, hour).items()):
            wrong.append(Difference(agent_id, hour))
            if repair:
                sum_hour(agent_id, hour)
    return wrong
