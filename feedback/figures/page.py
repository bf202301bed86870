"""`/admin/feedback-figures/`: how people find the answers, since when, of whom, and what goes with it."""

from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.views.decorators.http import require_GET

from agents import queries as agent_queries
from atom.ground.display import count, money
from atom.ground.errors import NotFound
from atom.ground.models import Scope
from atom.ground.principal import Principal
from atom.ground.workspace_admin import principal_of
from feedback import queries
from feedback.figures import charts
from feedback.figures.drill import cohort_url, rows_url
from feedback.queries import Period, Summary, Wanted
from feedback.queries.relations import Relation, relations
from feedback.queries.sums import BY, By, Compared, Trend, last_days
from feedback.statistics import Interval

PERIODS = {7: "7 days", 30: "30 days", 90: "90 days", 365: "A year"}
DEFAULT_DAYS = 30
TITLES: dict[By, str] = {
    "agent": "By agent",
    "model": "By model",
    "provider": "By provider",
    "prompt_version": "By version of the prompt",
    "category": "By category",
}
# A page is read, not searched: the API has all rows.
MOST_SHOWN = 20
NOTHING = "-"
# What a correlation is called from which size on (Cohen 1988).
STRENGTHS = ((0.5, "strong"), (0.3, "medium"), (0.1, "weak"), (0.0, "no"))
UPWARDS = {"cost": "dearer answers", "latency": "slower answers"}
DOWNWARDS = {"cost": "cheaper answers", "latency": "faster answers"}


@dataclass(frozen=True, slots=True)
class Card:
    """One figure; `url` leads to the feedback behind it."""

    icon: str
    name: str
    value: str
    note: str
    url: str


@dataclass(frozen=True, slots=True)
class Line:
    """A row of a table."""

    name: str
    summary: Summary
    ratio: str
    between: str
    corrected: str
    cost: str
    url: str


@require_GET
def figures_page(request: HttpRequest) -> HttpResponse:
    """`?days=`, and any of agent, provider, model, prompt_version, category; `order=corrections`: most corrected first.

    What is not there is a 404, as everywhere.
    """
    principal = principal_of(request)
    if Scope.FEEDBACK not in principal.scopes:
        raise PermissionDenied
    given = request.GET.get("days", "")
    days = int(given) if given in map(str, PERIODS) else DEFAULT_DAYS
    since, until = last_days(days)
    chosen = {name: request.GET[name].replace("\x00", "") for name in BY if request.GET.get(name)}
    try:
        context = shown(
            principal, Wanted(since=since, until=until, **chosen), days, request.GET.get("order") == "corrections"
        )
    except NotFound as exc:
        raise Http404 from exc
    context |= {"title": "What people say", "periods": PERIODS, "days": days, "chosen": chosen}
    return TemplateResponse(request, "feedback/figures.html", {**admin.site.each_context(request), **context})


def shown(principal: Principal, wanted: Wanted, days: int, most_corrected: bool) -> dict[str, Any]:
    """The page's context, but for its frame."""
    agents = dict(agent_queries.agents_of(principal).values_list("slug", "id"))
    compared = queries.compare(principal, wanted, days=days)
    trend = queries.trend(principal, wanted, days=days)
    summary = compared.now.summary
    tables = [(by, title, lines(principal, wanted, agents, by, most_corrected)) for by, title in TITLES.items()]
    return {
        "agents": sorted(agents),
        "summary": summary,
        "cards": cards(summary, trend, wanted, agents),
        "change": change(compared),
        "before": compared.before,
        "charts": [charts.by_day(queries.trends(principal, wanted, days=days)), charts.by_stars(summary.ratings)],
        "stars": [(star, found, rows_url(wanted, agents, rating=star)) for star, found in summary.ratings.items()],
        "opinions": opinions(summary, wanted, agents),
        "tables": tables,
        "most_corrected": most_corrected,
        "relations": [(name, in_words(name, found)) for name, found in relations(principal, wanted).items()],
        "as_of": queries.as_of(principal),
    }


def cards(summary: Summary, trend: Trend, wanted: Wanted, agents: dict[str, UUID]) -> list[Card]:
    interval = between(summary.positive_interval)
    ratio = f"surely {interval}" if interval else "nobody has rated an answer"
    rating = NOTHING if summary.average_rating is None else f"{summary.average_rating:.2f}"
    stars = f"from {count(sum(summary.ratings.values()))} ratings"
    better = f"{count(summary.corrections)} better answers, {count(summary.corrections_accepted)} accepted"
    cost = dollars(summary.cost_per_good_answer_usd)
    rows = partial(rows_url, wanted, agents)
    return [
        Card("thumb_up", "Positive", percent(summary.positive_ratio), ratio, rows(sentiment="positive")),
        Card("forum", "Feedback", count(summary.total), f"{trend.per_day:.1f} a day", rows()),
        Card("star", "Rating", rating, stars, rows(rating__isnull=False)),
        Card("edit_note", "Corrected", percent(summary.correction_rate), better, rows(corrected="yes")),
        Card("payments", "A good answer costs", cost, "what all of them cost", rows(sentiment="positive")),
        Card("trending_up", "Trend", trend.direction.capitalize(), _halves(trend), rows()),
    ]


def opinions(summary: Summary, wanted: Wanted, agents: dict[str, UUID]) -> list[tuple[str, int, str]]:
    return [
        (name.capitalize(), getattr(summary, name), rows_url(wanted, agents, sentiment=name))
        for name, _ in charts.OPINIONS
    ]


def lines(principal: Principal, wanted: Wanted, agents: dict[str, UUID], by: By, most_corrected: bool) -> list[Line]:
    found = queries.cohorts(principal, wanted, by, most_corrected=most_corrected)
    return [
        Line(
            name=row.name or NOTHING,
            summary=row.summary,
            ratio=percent(row.summary.positive_ratio),
            between=between(row.summary.positive_interval),
            corrected=percent(row.summary.correction_rate),
            cost=dollars(row.summary.cost_per_good_answer_usd),
            url=cohort_url(wanted, agents, by, row.name),
        )
        for row in found[:MOST_SHOWN]
    ]


def change(compared: Compared) -> str:
    """The positive ratio against the period before, in a sentence that says how sure it is."""
    if compared.difference is None or compared.interval is None or compared.p_value is None:
        return "There is nothing to compare with in the period before."
    low, high = 100 * compared.interval.low, 100 * compared.interval.high
    sure = "hardly by chance" if compared.p_value < 0.05 else "it may be chance"
    points = f"{100 * compared.difference:+.1f} points of positive feedback against {_dates(compared.before)}"
    return f"{points}: surely between {low:+.1f} and {high:+.1f}, {sure} (p = {compared.p_value:.3f})."


def in_words(name: str, found: Relation) -> str:
    if found.r is None:
        return f"Not enough rated answers with a known {name} to tell."
    size = next(word for least, word in STRENGTHS if abs(found.r) >= least)
    way = (
        ""
        if name == "model" or size == "no"
        else f": {UPWARDS[name] if found.r > 0 else DOWNWARDS[name]} are liked more"
    )
    kind = "V" if name == "model" else "r"
    return f"{size.capitalize()} connection{way} ({kind} = {found.r:.2f}, {count(found.count)} rated answers)."


def percent(ratio: float | None) -> str:
    return NOTHING if ratio is None else f"{ratio:.0%}"


def between(interval: Interval | None) -> str:
    return "" if interval is None else f"{interval.low:.0%} to {interval.high:.0%}"


def dollars(value: float | None) -> str:
    return money(None if value is None else Decimal(str(value)))


def _halves(trend: Trend) -> str:
    if trend.first_ratio is None or trend.second_ratio is None:
        return "too little was said"
    return f"{trend.first_ratio:.0%}, then {trend.second_ratio:.0%} positive"


def _dates(period: Period) -> str:
    return f"{period.since} to {period.until}"
