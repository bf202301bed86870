"""The admin's page about tokens and money: by day, agent, model, person and access token."""

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.views.decorators.http import require_GET

from agents import usage
from agents.usage import By, Figures, Row, Wanted
from atom.ground.models import Scope
from atom.ground.workspace_admin import principal_of

PERIODS = {1: "Today", 7: "7 days", 30: "30 days", 90: "90 days"}
DEFAULT_DAYS = 30
# Title, and what a row without a name is.
TABLES: tuple[tuple[By, str, str], ...] = (
    ("day", "By day", "-"),
    ("agent", "By agent", "Agents that are gone"),
    ("model", "By model", "-"),
    ("user", "By person", "People who are gone"),
    ("token", "By access token", "Signed in, without a token"),
)
# A page is read, not searched: what is cheaper than these is in the API.
MOST_SHOWN = 100


@dataclass(frozen=True, slots=True)
class Line:
    """A row of a table; `share` of the dearest row's cost, in percent."""

    name: str
    figures: Figures
    share: int


@require_GET
def usage_page(request: HttpRequest) -> HttpResponse:
    """`?days=` says how far back, today included."""
    principal = principal_of(request)
    if Scope.CHAT not in principal.scopes:
        raise PermissionDenied
    days = days_of(request.GET.get("days", ""))
    wanted = Wanted(since=datetime.combine(timezone.now().astimezone(UTC), time.min, UTC) - timedelta(days=days - 1))
    total = usage.total(principal, wanted)
    tables = [
        (by, title, lines(usage.rows(principal, wanted, by)[0], nameless))
        for by, title, nameless in TABLES
        if by != "day" or days > 1
    ]
    context: dict[str, Any] = {
        **admin.site.each_context(request),
        "title": "Usage",
        "periods": PERIODS,
        "days": days,
        "total": total,
        "tokens": total.input_tokens + total.output_tokens,
        "tables": tables,
        "sees_all": not usage.SEE_ALL.isdisjoint(principal.scopes),
    }
    return TemplateResponse(request, "atom/usage.html", context)


def days_of(given: str) -> int:
    """One of the periods; the usual one for anything else."""
    return int(given) if given in map(str, PERIODS) else DEFAULT_DAYS


def lines(rows: list[Row], nameless: str) -> list[Line]:
    dearest = max((row.figures.cost_usd for row in rows), default=Decimal(0))
    return [
        Line(row.name or nameless, row.figures, round(row.figures.cost_usd / dearest * 100) if dearest else 0)
        for row in rows[:MOST_SHOWN]
    ]
