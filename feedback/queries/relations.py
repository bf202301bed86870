"""How people's opinion goes with cost, latency and model. The first two are read from the rows, because sums have
forgotten which goes with which."""

from dataclasses import asdict, dataclass
from typing import Any

from django.db.models import Case, Count, F, FloatField, Sum, Value, When
from django.db.models.functions import Cast

from atom.ground.principal import Principal
from feedback.models import Feedback
from feedback.queries.rows import Filter, feedback_of
from feedback.queries.sums import Wanted, cohorts
from feedback.rollups import NEGATIVE, POSITIVE, RATED
from feedback.statistics import correlation, cramers_v

# The newest feedbacks looked at: a correlation does not get truer beyond, only slower.
MOST = 20_000
# 1 positive, 0 neutral, -1 negative.
_OPINION = Case(
    When(POSITIVE, then=Value(1.0)), When(NEGATIVE, then=Value(-1.0)), default=Value(0.0), output_field=FloatField()
)


@dataclass(frozen=True, slots=True)
class Relation:
    """How strongly opinion goes with something; None where either never varies.

    With a figure of the run it is Pearson's r of opinion (-1, 0, 1), from -1 to 1; with the model, which has no order,
    Cramér's V, from 0 to 1.
    """

    count: int
    r: float | None


def relations(principal: Principal, wanted: Wanted) -> dict[str, Relation]:
    """Opinion beside `cost` and `latency`, over the newest rated feedbacks that are wanted, and beside `model`."""
    rows = feedback_of(principal, Filter(**asdict(wanted))).filter(RATED).select_related(None)
    return {
        "cost": _relation(rows, "cost_nano_usd"),
        "latency": _relation(rows, "latency_ms"),
        "model": _with_model(principal, wanted),
    }


def _with_model(principal: Principal, wanted: Wanted) -> Relation:
    sums = [row.summary for row in cohorts(principal, wanted, "model")]
    table = [(one.positive, one.negative, one.rated - one.positive - one.negative) for one in sums]
    return Relation(sum(one.rated for one in sums), cramers_v(table))


def _relation(rows: Any, column: str) -> Relation:
    newest = rows.filter(**{f"{column}__isnull": False}).order_by("-created_at").values("pk")[:MOST]
    with_both = (
        Feedback.objects.filter(pk__in=newest)
        .order_by()
        .annotate(x=Cast(F(column), FloatField()) / Value(1e3), y=_OPINION)
    )
    found = with_both.aggregate(
        count=Count("pk"),
        sum_x=Sum("x", default=0.0),
        sum_y=Sum("y", default=0.0),
        sum_xx=Sum(F("x") * F("x"), default=0.0),
        sum_yy=Sum(F("y") * F("y"), default=0.0),
        sum_xy=Sum(F("x") * F("y"), default=0.0),
    )
    r = correlation(
        found["count"],
        (found["sum_x"], found["sum_y"]),
        (found["sum_xx"], found["sum_yy"]),
        found["sum_xy"],
    )
    return Relation(found["count"], r)
