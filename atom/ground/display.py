"""How the admin shows facts to people: moments, durations, money, shares and structured data."""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

NOTHING = "-"
# Deeper than this, data is a puzzle on any page.
DEEPEST = 5
_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60))


def ago(moment: datetime) -> str:
    """`3 min ago`, `in 2 h`; a plain date beyond a month."""
    distance_s = (timezone.now() - moment).total_seconds()
    size = abs(distance_s)
    if size > 30 * 86_400:
        return f"{moment:%-d %b %Y}"
    for unit, length_s in _UNITS:
        if size >= length_s:
            text = f"{int(size // length_s)} {unit}"
            return f"{text} ago" if distance_s > 0 else f"in {text}"
    return "just now" if distance_s >= 0 else "in a moment"


def moment_html(moment: datetime | None) -> SafeString:
    """A moment as people say it, with the exact time on hover."""
    if moment is None:
        return SafeString(NOTHING)
    exact = moment.astimezone(UTC)
    return format_html(
        '<time class="atom-time" datetime="{}" title="{}">{}</time>',
        exact.isoformat(),
        f"{exact:%Y-%m-%d %H:%M:%S} UTC",
        ago(moment),
    )


def seconds(value: float | None) -> str:
    """`0.42 s`, `1 min 5 s`."""
    if value is None:
        return NOTHING
    if value < 60:
        return f"{value:.2f} s" if value < 10 else f"{value:.0f} s"
    return f"{int(value // 60)} min {int(value % 60)} s"


def money(value: Decimal | None) -> str:
    """US dollars, small amounts with two figures that count; `-` when no price is known."""
    if value is None:
        return NOTHING
    if value == 0:
        return "$0.00"
    if value >= Decimal("0.01"):
        return f"${value:,.2f}" if value >= 1 else f"${value:.4f}"
    return f"${Decimal(f'{value:.1e}'):f}"


def count(value: int | None) -> str:
    return NOTHING if value is None else f"{value:,}"


def share_html(value: Decimal | float, label: str) -> SafeString:
    """A bar for a number between 0 and 1."""
    percent = round(float(value) * 100)
    return format_html(
        '<span class="atom-share" title="{} {}%">'
        '<progress max="100" value="{}" aria-label="{}"></progress><span>{}%</span></span>',
        label,
        percent,
        percent,
        label,
        percent,
    )


def data_html(value: Any, depth: int = 0) -> SafeString:
    """Structured data as lists and terms instead of raw JSON."""
    if value is None or value == "" or value in ([], {}):
        return SafeString(NOTHING)
    if isinstance(value, bool):
        return SafeString("yes" if value else "no")
    if depth >= DEEPEST or not isinstance(value, Mapping | list | tuple):
        return format_html('<span class="atom-value">{}</span>', value)
    if isinstance(value, Mapping):
        rows = ((str(name).replace("_", " "), data_html(found, depth + 1)) for name, found in value.items())
        return format_html('<dl class="atom-facts">{}</dl>', format_html_join("", "<dt>{}</dt><dd>{}</dd>", rows))
    items = ((data_html(found, depth + 1),) for found in value)
    return format_html('<ul class="atom-items">{}</ul>', format_html_join("", "<li>{}</li>", items))
