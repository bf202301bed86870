"""Reading the audit trail: by agent, event, time and anything's id; and all of it, line by line."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db.models import Q, QuerySet

from atom.ground.models import AuditEntry

BATCH = 500


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which entries: all conditions must hold. `agent` is a slug or an id; `until` is not included."""

    agent: str = ""
    event: str = ""
    since: datetime | None = None
    until: datetime | None = None
    id: UUID | None = None

    def of(self, entries: QuerySet[AuditEntry]) -> QuerySet[AuditEntry]:
        # Entries are canonical JSON, and a quote within a value is escaped there: only a member can match.
        if self.agent:
            name = json.dumps(self.agent, ensure_ascii=False)
            named = Q(entry__contains=f'"agent":{name}') | Q(entry__contains=f'"slug":{name}')
            entries = entries.filter(named)
        if self.event:
            entries = entries.filter(event=self.event)
        if self.since:
            entries = entries.filter(at__gte=self.since)
        if self.until:
            entries = entries.filter(at__lt=self.until)
        return about(entries, [self.id]) if self.id else entries


def about(entries: QuerySet[AuditEntry], ids: Iterable[UUID]) -> QuerySet[AuditEntry]:
    """The entries that name any of these ids, or are one of them."""
    wanted = Q(pk__in=[])
    for one in ids:
        wanted |= Q(pk=one) | Q(entry__contains=f'"{one}"')
    return entries.filter(wanted)


def batches(entries: QuerySet[AuditEntry]) -> Iterator[str]:
    """All entries of one workspace as JSON lines, oldest first, some hundred at a time; also what comes meanwhile."""
    text, last = batch(entries, 0)
    while text:
        yield text
        text, last = batch(entries, last)


def batch(entries: QuerySet[AuditEntry], after: int) -> tuple[str, int]:
    """The next lines after this number, and the number to go on from; no text when there are no more.

    `entry` is the very text that `hash` covers, so that the chain can be checked without Atom.
    """
    rows = list(entries.filter(seq__gt=after).order_by("seq")[:BATCH])
    return "".join(f"{_line(row)}\n" for row in rows), rows[-1].seq if rows else after


def _line(row: AuditEntry) -> str:
    facts = {
        "workspace": str(row.workspace_id),
        "id": str(row.pk),
        "seq": row.seq,
        "previous_hash": row.previous_hash,
        "hash": row.hash,
        "entry": row.entry,
    }
    return json.dumps(facts, separators=(",", ":"))
