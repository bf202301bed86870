"""From a figure to the feedback behind it: addresses of the admin's list, filtered to the same rows."""

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.urls import reverse

from feedback.queries.sums import Wanted

# What the list calls them.
_COLUMNS = ("provider", "model", "prompt_version", "category")


def rows_url(wanted: Wanted, agents: dict[str, UUID], **more: Any) -> str:
    """The list of exactly the feedback that `wanted` sums; `more` narrows it further."""
    found: dict[str, Any] = {}
    if wanted.agent:
        found["agent__id__exact"] = agents[wanted.agent]
    found |= {name: value for name in _COLUMNS if (value := getattr(wanted, name))}
    if wanted.since:
        found["created_at__gte"] = _midnight(wanted.since)
    if wanted.until:
        found["created_at__lt"] = _midnight(wanted.until + timedelta(days=1))
    address = reverse("admin:feedback_feedback_changelist")
    return f"{address}?{urlencode({**found, **more})}"


def cohort_url(wanted: Wanted, agents: dict[str, UUID], by: str, name: str) -> str:
    """Empty for rows without a name: nothing can be asked for by it."""
    if not name or (by == "agent" and name not in agents):
        return ""
    one: dict[str, Any] = {by: name}
    return rows_url(replace(wanted, **one), agents)


def _midnight(day: date) -> str:
    return datetime.combine(day, time.min, UTC).isoformat(sep=" ")
