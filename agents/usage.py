"""What calls to providers used and cost: in all, and by day, agent, person, access token, provider or model.

Read for somebody: who may watch others (`metrics`, `supervise`) sees the whole workspace, everybody else their own.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal, TypeAlias
from uuid import UUID

from django.db.models import Count, F, Q, QuerySet, Sum
from django.db.models.functions import TruncDate

from agents import queries
from agents.fields import summed, total_of
from agents.models import Attempt
from atom.ground.models import Scope
from atom.ground.principal import Principal
from llm.attempts import LEFT, SUCCEEDED

By: TypeAlias = Literal["day", "agent", "user", "token", "provider", "model"]

SEE_ALL = frozenset({Scope.METRICS, Scope.SUPERVISE})
# More rows are nothing to read, and would be held in memory at once.
MOST_ROWS = 1000
COLUMNS: dict[By, tuple[str, ...]] = {
    "day": ("day",),
    "agent": ("agent__slug", "agent__name"),
    "user": ("user_id", "user__username"),
    "token": ("token_id", "token__name"),
    "provider": ("provider",),
    "model": ("provider", "model"),
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which calls: those that meet every condition given. `since` is the first moment, `until` the first beyond."""

    agent: str = ""
    user: str = ""
    token: UUID | None = None
    provider: str = ""
    model: str = ""
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Figures:
    """`requests` are runs that called a provider, `calls` the calls. The unpriced ones are not in `cost_usd`.

    Of unreported requests the provider did not say, or not before the client went, how many tokens it counted.
    """

    requests: int
    calls: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    reasoning_tokens: int
    cost_usd: Decimal
    unpriced_requests: int
    unreported_requests: int


@dataclass(frozen=True, slots=True)
class Row:
    """`key` is what a filter takes, `name` what people read; both are None where the row it belonged to is gone."""

    key: str | None
    name: str | None
    figures: Figures


def total(principal: Principal, wanted: Wanted) -> Figures:
    """All of it in one row of figures. NotFound for an agent of nobody's, or another workspace's."""
    return _figures(_calls(principal, wanted).aggregate(**_aggregates()))


def rows(principal: Principal, wanted: Wanted, by: By) -> tuple[list[Row], bool]:
    """A row for each day (the newest first), agent and so on (the dearest first), and whether these are all."""
    columns = COLUMNS[by]
    calls = _calls(principal, wanted)
    if by == "day":
        calls = calls.annotate(day=TruncDate("started_at", tzinfo=UTC))
    dearest = F("cost_usd_micro").desc(nulls_last=True)
    order: list[Any] = ["-day"] if by == "day" else [dearest, *columns]
    found = list(calls.values(*columns).annotate(**_aggregates()).order_by(*order)[: MOST_ROWS + 1])
    return [_row(by, values) for values in found[:MOST_ROWS]], len(found) <= MOST_ROWS


def _calls(principal: Principal, wanted: Wanted) -> QuerySet[Attempt]:
    calls = Attempt.objects.filter(workspace_id=principal.workspace_id, was_called=True)
    if SEE_ALL.isdisjoint(principal.scopes):
        calls = calls.filter(user_id=principal.user_id)
    if wanted.agent:
        calls = calls.filter(agent=queries.get_agent(principal, wanted.agent))
    if wanted.user:
        calls = calls.filter(user__username=wanted.user)
    if wanted.model:
        provider, slash, name = wanted.model.partition("/")
        # Ids of some providers have a slash of their own.
        calls = calls.filter(Q(model=wanted.model) | (Q(provider=provider, model=name) if slash else Q()))
    given = {
        "token_id": wanted.token,
        "provider": wanted.provider,
        "started_at__gte": wanted.since,
        "started_at__lt": wanted.until,
    }
    return calls.filter(**{name: value for name, value in given.items() if value})


def _aggregates() -> dict[str, Any]:
    silent = Q(has_usage=False, outcome__in=(SUCCEEDED, LEFT))
    return {
        "requests": Count("request_id", distinct=True),
        "calls": Count("pk"),
        "sum_input": Sum("input_tokens"),
        "sum_output": Sum("output_tokens"),
        "sum_cached": Sum("cached_tokens"),
        "sum_reasoning": Sum("reasoning_tokens"),
        "unpriced": Count("request_id", distinct=True, filter=Q(cost_usd=None)),
        "unreported": Count("request_id", distinct=True, filter=silent),
        **summed("cost_usd"),
    }


def _figures(found: dict[str, Any]) -> Figures:
    return Figures(
        requests=found["requests"],
        calls=found["calls"],
        input_tokens=found["sum_input"] or 0,
        output_tokens=found["sum_output"] or 0,
        cached_tokens=found["sum_cached"] or 0,
        reasoning_tokens=found["sum_reasoning"] or 0,
        cost_usd=total_of(found, "cost_usd"),
        unpriced_requests=found["unpriced"],
        unreported_requests=found["unreported"],
    )


def _row(by: By, found: dict[str, Any]) -> Row:
    values = [found[column] for column in COLUMNS[by]]
    if by == "model":
        values = ["/".join(values)]
    key, name = values[0], values[-1]
    if by == "user":
        # A user name is what the filter takes.
        key = name
    return Row(None if key is None else str(key), None if name is None else str(name), _figures(found))
