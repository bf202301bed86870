"""The stretch of time that a budget counts over now."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from governance.models import Period


@dataclass(frozen=True, slots=True)
class Window:
    """`name` tells it from the windows before; `starts_at` and `ends_at` are None for a budget without a period."""

    name: str
    starts_at: datetime | None
    ends_at: datetime | None


def window_of(period: str, now: datetime) -> Window:
    """The window of `period` that `now` falls into; days and months are those of UTC."""
    day = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if period == Period.DAY:
        return Window(f"{day:%Y%m%d}", day, day + timedelta(days=1))
    if period == Period.MONTH:
        first = day.replace(day=1)
        return Window(f"{day:%Y%m}", first, (first + timedelta(days=32)).replace(day=1))
    return Window("total", None, None)
