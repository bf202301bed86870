"""Sums of feedback by hour and day. An hour is always summed whole from its rows, so order and repetition do not
matter; a day is summed whole from its hours."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cache, partial
from itertools import groupby
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Count, Field, Q, QuerySet, Sum

from agents.models import Agent
from feedback.models import DirtyHour, Feedback, FeedbackDay, FeedbackHour, FeedbackStatus, Part, Thumb
from feedback.models.sums import DIMENSIONS, Sums

_RATED_ONLY = Q(thumb="")
POSITIVE = Q(thumb=Thumb.UP) | _RATED_ONLY & Q(rating__gte=4)
NEGATIVE = Q(thumb=Thumb.DOWN) | _RATED_ONLY & Q(rating__lte=2)
RATED = ~Q(thumb="") | Q(rating__isnull=False)
CORRECTED = ~Q(correction="")
_ACCEPTED = Q(status=FeedbackStatus.ACCEPTED)
OPINION_ACCEPTED = RATED & (_ACCEPTED | Q(status=FeedbackStatus.SPLIT, kept=Part.OPINION))
CORRECTION_ACCEPTED = CORRECTED & (_ACCEPTED | Q(status=FeedbackStatus.SPLIT, kept=Part.CORRECTION))
_COUNTS = {
    "total": Count("pk"),
    "positive": Count("pk", filter=POSITIVE),
    "negative": Count("pk", filter=NEGATIVE),
    "neutral": Count("pk", filter=~POSITIVE & ~NEGATIVE),
    "rated": Count("pk", filter=RATED),
    "corrections": Count("pk", filter=CORRECTED),
    "corrections_accepted": Count("pk", filter=CORRECTION_ACCEPTED),
    "comments": Count("pk", filter=~Q(comment="")),
    "pending": Count("pk", filter=Q(status=FeedbackStatus.PENDING)),
    "rejected": Count("pk", filter=Q(status=FeedbackStatus.REJECTED)),
    **{f"rating_{stars}": Count("pk", filter=Q(rating=stars)) for stars in range(1, 6)},
    "costed": Count("cost_nano_usd"),
    "cost_nano_usd": Sum("cost_nano_usd", default=0),
    "timed": Count("latency_ms"),
    "latency_ms": Sum("latency_ms", default=0),
}
COUNTED = tuple(_COUNTS)
# Under names of their own: a sum may not be called like the column that it adds up.
_SUMS = {f"sum_{name}": Sum(name) for name in COUNTED}
# Hours looked up in one go; the rest waits for the next round of the loop.
BATCH = 500
HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Difference:
    """An hour (or, with `is_day`, a day) whose stored sums are not what its rows say."""

    agent_id: UUID
    start: datetime
    is_day: bool = False


def hour_of(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0)


def day_of(hour: datetime) -> date:
    return hour.astimezone(UTC).date()


def _begin_of(day: date) -> datetime:
    return datetime.combine(day, time.min, UTC)


def current() -> QuerySet[Feedback]:
    """What counts: the current word of everybody who has not withdrawn it."""
    return Feedback.objects.filter(withdrawn_at=None).order_by()


def _sums_of_hour(agent_id: UUID, hour: datetime) -> "QuerySet[Any, Any]":
    """One row for each combination of dimensions that occurs."""
    rows = current().filter(agent_id=agent_id, created_at__gte=hour, created_at__lt=hour + HOUR)
    sums: QuerySet[Any, Any] = rows.values(*DIMENSIONS).annotate(**_COUNTS)
    return sums


def _sums_of_day(agent_id: UUID, day: date) -> "QuerySet[Any, Any]":
    begin = _begin_of(day)
    hours = FeedbackHour.objects.filter(agent_id=agent_id, hour__gte=begin, hour__lt=begin + timedelta(days=1))
    sums: QuerySet[Any, Any] = hours.order_by().values(*DIMENSIONS).annotate(**_SUMS)
    return sums


@cache
def _hour_statement(vendor: str) -> tuple[str, list[Any]]:
    """The statement that sums an hour, with stand-ins among its parameters; put together once, because Django takes
    longer to do that than the database to run it."""
    return _inserting(FeedbackHour, ("workspace", "agent", "hour"), _sums_of_hour(_SOME_ID, _SOME_HOUR))


_SOME_ID, _SOME_HOUR = UUID(int=0), datetime(1970, 1, 1, tzinfo=UTC)


def _insert_hour(workspace_id: UUID, agent_id: UUID, hour: datetime) -> None:
    sql, parameters = _hour_statement(connection.vendor)
    at = partial(_column(FeedbackHour, "hour").get_db_prep_save, connection=connection)
    who = partial(_column(FeedbackHour, "agent").get_db_prep_save, connection=connection)
    real = {who(_SOME_ID): who(agent_id), at(_SOME_HOUR): at(hour), at(_SOME_HOUR + HOUR): at(hour + HOUR)}
    values = [real.get(given, given) for given in parameters]
    with connection.cursor() as cursor:
        cursor.execute(sql, [who(workspace_id), who(agent_id), at(hour), *values])


def _insert_day(workspace_id: UUID, agent_id: UUID, day: date) -> None:
    sql, parameters = _inserting(FeedbackDay, ("workspace", "agent", "day"), _sums_of_day(agent_id, day))
    owner = {"workspace": workspace_id, "agent": agent_id, "day": day}
    fixed = [_column(FeedbackDay, name).get_db_prep_save(value, connection) for name, value in owner.items()]
    with connection.cursor() as cursor:
        cursor.execute(sql, [*fixed, *parameters])


def _column(table: type[Sums], name: str) -> "Field[Any, Any]":
    found = table._meta.get_field(name)
    assert isinstance(found, Field)
    return found


def _inserting(table: type[Sums], fixed: Sequence[str], sums: "QuerySet[Any, Any]") -> tuple[str, list[Any]]:
    """An INSERT of what the query adds up: a million rows never pass through this process."""
    quoted = connection.ops.quote_name
    columns = [str(_column(table, name).column) for name in fixed] + [*DIMENSIONS, *COUNTED]
    sql, parameters = sums.query.sql_with_params()
    placeholders = ", ".join(["%s"] * len(fixed))
    into = f"{quoted(table._meta.db_table)} ({', '.join(map(quoted, columns))})"
    # All names in it are our own tables and columns.
    return f"INSERT INTO {into} SELECT {placeholders}, made.* FROM ({sql}) AS made", list(parameters)  # noqa: S608


@transaction.atomic
def sum_hours(agent_id: UUID, hours: Sequence[datetime]) -> None:
    """Make the sums of these hours, which are of one day, and of that day again; their marks are taken away."""
    # Two at work on one agent go one after the other, so older sums never come last.
    agent = Agent.objects.select_for_update(no_key=True).filter(pk=agent_id).first()
    if agent is None:
        # Gone since, and its feedback with it.
        return
    # The marks first: whatever was marked until here is committed, so the sums below see it. The other way round
    # a mark could be taken away whose row came too late.
    DirtyHour.objects.filter(agent_id=agent_id, hour__in=hours).delete()
    FeedbackHour.objects.filter(agent=agent, hour__in=hours).delete()
    for hour in hours:
        _insert_hour(agent.workspace_id, agent_id, hour)
    day = day_of(hours[0])
    FeedbackDay.objects.filter(agent=agent, day=day).delete()
    _insert_day(agent.workspace_id, agent_id, day)


def sum_dirty_hours() -> int:
    """Sum every hour that has changed; gives how many. A crash in between leaves the rest marked."""
    done = 0
    marks = DirtyHour.objects.order_by("agent_id", "hour").values_list("agent_id", "hour").distinct()
    while found := list(marks[:BATCH]):
        for (agent_id, _), of_day in groupby(found, key=lambda mark: (mark[0], day_of(mark[1]))):
            hours = [hour for _, hour in of_day]
            sum_hours(agent_id, hours)
            done += len(hours)
    return done


def recount(*, repair: bool) -> list[Difference]:
    """Every hour and day whose sums differ from the rows behind them; with `repair` they are made again."""
    wrong: list[Difference] = []
    for agent_id in Agent.objects.order_by("pk").values_list("pk", flat=True):
        said = Feedback.objects.filter(agent_id=agent_id).order_by()
        hours = set(said.datetimes("created_at", "hour", tzinfo=UTC))
        hours |= set(FeedbackHour.objects.filter(agent_id=agent_id).values_list("hour", flat=True))
        days = {day_of(hour) for hour in hours}
        days |= set(FeedbackDay.objects.filter(agent_id=agent_id).values_list("day", flat=True))
        for day in sorted(days):
            of_day = sorted(hour for hour in hours if day_of(hour) == day)
            found = _differences(agent_id, day, of_day)
            wrong.extend(found)
            if found and repair:
                sum_hours(agent_id, of_day or [_begin_of(day)])
    return wrong


def _differences(agent_id: UUID, day: date, hours: Sequence[datetime]) -> list[Difference]:
    wrong = [
        Difference(agent_id, hour)
        for hour in hours
        if _differ(FeedbackHour.objects.filter(agent_id=agent_id, hour=hour), _sums_of_hour(agent_id, hour))
    ]
    if _differ(FeedbackDay.objects.filter(agent_id=agent_id, day=day), _sums_of_day(agent_id, day)):
        wrong.append(Difference(agent_id, _begin_of(day), is_day=True))
    return wrong


def _differ(stored: "QuerySet[Any]", expected: "QuerySet[Any, Any]") -> bool:
    kept = stored.order_by().values_list(*DIMENSIONS, *COUNTED)
    # Read by place: the sums of a day have other names than its columns.
    made = (tuple(row.values()) for row in expected)
    return set(kept) != set(made)
