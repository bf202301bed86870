"""Data for Chart.js as Unfold bundles it: made here, drawn there. Beside every chart stand the same figures as text."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

# Readable on light and on dark: Unfold takes colours once, when the page is opened.
GOOD, NEUTRAL, BAD = "var(--atom-chart-good)", "var(--atom-chart-neutral)", "var(--atom-chart-bad)"
OPINIONS = (("positive", GOOD), ("neutral", NEUTRAL), ("negative", BAD))
STARS = (BAD, BAD, NEUTRAL, GOOD, GOOD)
TICKS = {"color": "#8b93a1", "precision": 0, "maxRotation": 0, "autoSkipPadding": 16}


@dataclass(frozen=True, slots=True)
class Chart:
    """A bar chart; `label` says in words what is drawn. `data` and `options` are JSON for Chart.js."""

    title: str
    label: str
    data: str
    options: str


def by_day(points: Iterable[dict[str, Any]]) -> Chart:
    """One bar a day, its opinions on top of each other."""
    found = list(points)
    sets = [
        {"label": name.capitalize(), "data": [point[name] for point in found], "backgroundColor": colour}
        for name, colour in OPINIONS
    ]
    total = sum(point["total"] for point in found)
    label = f"{total} feedbacks in {len(found)} days, by day and opinion"
    return Chart("By day", label, _data([point["date"] for point in found], sets), _options(has_legend=True))


def by_stars(ratings: dict[str, int]) -> Chart:
    stars = list(ratings)
    told = ", ".join(f"{ratings[star]} with {star}" for star in stars)
    data = [{"label": "Ratings", "data": [ratings[star] for star in stars], "backgroundColor": STARS}]
    return Chart("Ratings", f"Ratings by stars: {told}", _data([f"{star} ★" for star in stars], data), _options())


def _data(labels: Sequence[str], datasets: Sequence[dict[str, Any]]) -> str:
    return orjson.dumps({"labels": labels, "datasets": datasets}).decode()


def _options(*, has_legend: bool = False) -> str:
    axis = {"stacked": True, "ticks": TICKS, "border": {"display": False}}
    options = {
        "animation": False,
        "responsive": True,
        "maintainAspectRatio": False,
        "maxBarThickness": 28,
        "scales": {"x": {**axis, "grid": {"display": False}}, "y": {**axis, "beginAtZero": True, "grid": {}}},
        "interaction": {"mode": "index", "intersect": False},
        "plugins": {
            "legend": {
                "display": has_legend,
                "align": "end",
                "position": "top",
                "labels": {"boxWidth": 10, "boxHeight": 10, "color": TICKS["color"]},
            }
        },
    }
    return orjson.dumps(options).decode()
