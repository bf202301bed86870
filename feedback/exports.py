"""Feedback as files: CSV and JSON of everything, and corrections as examples for fine-tuning. Written row by row."""

import csv
import io
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import orjson
from django.db.models import QuerySet

from agents.models import Message
from agents.variants import prompt_of
from atom.ground.database import in_db
from feedback.models import Feedback
from feedback.rollups import CORRECTION_ACCEPTED

# Rows read at once; no more of the whole is ever in memory.
CHUNK = 500
COLUMNS = (
    "id",
    "created_at",
    "updated_at",
    "agent",
    "user",
    "run_id",
    "session_id",
    "message_id",
    "thumb",
    "rating",
    "sentiment",
    "correction",
    "comment",
    "category",
    "tags",
    "status",
    "kept",
    "note",
    "provider",
    "model",
    "prompt_version",
    "cost_usd",
    "latency_ms",
    "revision",
)
# What makes a spreadsheet take a cell for a formula (OWASP, "CSV injection"), the wide forms of East Asia included.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
NANO = 10**9


def safe(value: Any) -> Any:
    """The value as a cell: a text that a spreadsheet could run gets an apostrophe before it; numbers stay."""
    if value is None:
        return ""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def row_of(given: Feedback) -> dict[str, Any]:
    found = {name: getattr(given, name, None) for name in COLUMNS}
    return found | {
        "agent": given.agent.slug,
        "user": given.user.username if given.user else None,
        "sentiment": given.get_sentiment(),
        "cost_usd": None if given.cost_nano_usd is None else f"{given.cost_nano_usd / NANO:.9f}",
    }


async def as_csv(rows: QuerySet[Feedback]) -> AsyncIterator[bytes]:
    yield _line(COLUMNS)
    async for given in _all(rows):
        row = {**row_of(given), "tags": " ".join(given.tags)}
        yield _line([safe(_told(row[name])) for name in COLUMNS])


async def as_json(rows: QuerySet[Feedback]) -> AsyncIterator[bytes]:
    """One array."""
    separator = b"[\n"
    async for given in _all(rows):
        yield separator + orjson.dumps(row_of(given))
        separator = b",\n"
    yield b"[]\n" if separator == b"[\n" else b"\n]\n"


async def as_dataset(rows: QuerySet[Feedback]) -> AsyncIterator[bytes]:
    """JSON lines of `{"messages": [...]}`: prompt and what was said before, the correction as the answer."""
    accepted = rows.filter(CORRECTION_ACCEPTED).select_related("agent", "user", "message", "run")
    async for given in _all(accepted):
        example = await in_db(_example, given)
        yield orjson.dumps({"messages": example}) + b"\n"


def _example(given: Feedback) -> list[dict[str, str]]:
    before = Message.objects.filter(created_at__lt=given.message.created_at).exclude(role=Message.Role.TOOL)
    # A call without a session carries its own history: of that, Atom keeps what its run said.
    before = before.filter(session_id=given.session_id) if given.session_id else before.filter(run_id=given.run_id)
    # What the answer was made with: the agent may have another prompt by now.
    prompt = prompt_of(given.run)
    said = [{"role": "system", "content": prompt}] if prompt else []
    said += [{"role": str(row.role), "content": row.text} for row in before.order_by("created_at") if row.text]
    return [*said, {"role": "assistant", "content": given.correction}]


async def _all(rows: QuerySet[Feedback]) -> AsyncIterator[Feedback]:
    """Every row, the oldest first, by place and not by number: what is written meanwhile shifts nothing."""
    after: tuple[Any, UUID] | None = None
    while chunk := await in_db(_chunk, rows, after):
        for given in chunk:
            yield given
        after = (chunk[-1].created_at, chunk[-1].id)


def _chunk(rows: QuerySet[Feedback], after: tuple[Any, UUID] | None) -> list[Feedback]:
    rows = rows.order_by("created_at", "pk")
    if after is not None:
        at, pk = after
        rows = rows.filter(created_at__gte=at).exclude(created_at=at, pk__lte=pk)
    return list(rows[:CHUNK])


def _told(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else value


def _line(cells: Any) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerow(cells)
    return text.getvalue().encode()
