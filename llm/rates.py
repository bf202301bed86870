"""What is left of the rates that providers grant each key and model, as their answers say it in headers.

Each process remembers what its own answers said, until the provider's window begins anew: it costs no call and no
query, and a limit that another process has used up shows as a 429, which lets the key rest for all.
"""

import re
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

# Upstreams that are remembered; the longest unused are forgotten.
REMEMBER_MOST = 10_000
# No provider's word counts for longer.
MOST_S = 86_400
# https://platform.openai.com/docs/guides/rate-limits, and those who copy it (Groq, xAI, Together, …).
_OPENAI = "x-ratelimit-{what}-{kind}"
# https://docs.anthropic.com/en/api/rate-limits
_ANTHROPIC = "anthropic-ratelimit-{kind}-{what}"
# In the name of every such header.
_MARK = "ratelimit"
_KINDS = ("requests", "tokens", "input-tokens", "output-tokens")
_SPAN = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400}


@dataclass(frozen=True, slots=True)
class Window:
    """What is left of one limit until `ends` (monotonic seconds)."""

    counts_tokens: bool
    limit: int
    remaining: int
    ends: float


_known: OrderedDict[Hashable, tuple[Window, ...]] = OrderedDict()


def note(upstream: Hashable, headers: Mapping[str, str]) -> None:
    """Remember what the headers of an answer say; nothing changes when they say nothing."""
    if not any(_MARK in name.lower() for name in headers):
        return
    found = tuple(_windows(headers))
    if not found:
        return
    _known[upstream] = found
    _known.move_to_end(upstream)
    if len(_known) > REMEMBER_MOST:
        _known.popitem(last=False)


def left(upstream: Hashable, tokens: Callable[[], int]) -> float:
    """Which part of its rate is left, between 0 and 1; 0 also when `tokens` are more than what is left of them.

    1 where nothing is known.
    """
    now = time.monotonic()
    windows = [window for window in _known.get(upstream, ()) if window.ends > now]
    if any(window.remaining < (tokens() if window.counts_tokens else 1) for window in windows):
        return 0.0
    return min((window.remaining / window.limit for window in windows), default=1.0)


def forget() -> None:
    _known.clear()


def _windows(headers: Mapping[str, str]) -> list[Window]:
    found = []
    for pattern in (_OPENAI, _ANTHROPIC):
        for kind in _KINDS:
            names = (pattern.format(kind=kind, what=what) for what in ("limit", "remaining", "reset"))
            limit, remaining, reset = (headers.get(name, "").strip() for name in names)
            seconds = _seconds_of(reset)
            if limit.isdecimal() and remaining.isdecimal() and int(limit) > 0 and seconds is not None:
                # What is left is rounded, and can be more than the limit for a moment.
                part = min(int(remaining), int(limit))
                ends = time.monotonic() + min(max(0.0, seconds), MOST_S)
                found.append(Window("tokens" in kind, int(limit), part, ends))
    return found


def _seconds_of(reset: str) -> float | None:
    """From `6m0s`, `17ms`, `1.5` or a moment in RFC 3339 to the seconds until then; None for anything else."""
    if re.fullmatch(r"\d+(\.\d+)?", reset):
        return float(reset)
    if re.fullmatch(f"(?:{_SPAN.pattern})+", reset):
        return sum(float(number) * _SECONDS[unit] for number, unit in _SPAN.findall(reset))
    try:
        when = datetime.fromisoformat(reset)
    except ValueError:
        return None
    return (when.replace(tzinfo=when.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
