"""The audit trail: append an entry to a workspace's hash chain, and prove the chain whole.

hash = SHA-256(previous hash, newline, entry text). The newest hash stands in `AuditHead`, sealed with an HMAC
under the secret key, so that cutting off the end is noticed too. `verify` needs the database only.
"""

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from atom.ground.models import AuditEntry, AuditHead, Workspace

GENESIS = "0" * 64


@dataclass(frozen=True, slots=True)
class Break:
    """Where a chain is not whole."""

    workspace_id: UUID
    seq: int
    problem: str


def entry_hash(previous_hash: str, entry: str) -> str:
    """The chained hash of one entry, in hex."""
    return hashlib.sha256(f"{previous_hash}\n{entry}".encode()).hexdigest()


def _seal(workspace_id: UUID, seq: int, head_hash: str) -> str:
    text = f"{workspace_id}:{seq}:{head_hash}".encode()
    return hmac.new(settings.SECRET_KEY.encode(), text, hashlib.sha256).hexdigest()


def is_sealed(head: AuditHead) -> bool:
    """Whether the anchor is as this installation left it. One that has never held an entry has no seal."""
    return hmac.compare_digest(head.seal, _seal(head.workspace_id, head.seq, head.hash))


@dataclass(frozen=True, slots=True)
class Fact:
    """What an entry tells: who did what, and when (now, if it is not said)."""

    actor: str
    event: str
    details: Mapping[str, Any]
    at: datetime | None = None


def append(*, workspace_id: UUID, actor: str, event: str, details: Mapping[str, Any]) -> AuditEntry:
    """Add one entry in the caller's transaction, so that the fact and its record live or die together."""
    return append_all(workspace_id, [Fact(actor, event, details)])[0]


def append_all(workspace_id: UUID, facts: Sequence[Fact]) -> list[AuditEntry]:
    """Add several entries, in this order, in the caller's transaction."""
    with transaction.atomic():
        AuditHead.objects.get_or_create(workspace_id=workspace_id)
        # The head row is the lock that gives every entry its own place.
        head = AuditHead.objects.select_for_update().get(workspace_id=workspace_id)
        rows = []
        for fact in facts:
            row = _next(head, fact)
            head.seq, head.hash = row.seq, row.hash
            rows.append(row)
        AuditEntry.objects.bulk_create(rows)
        head.seal = _seal(workspace_id, head.seq, head.hash)
        head.save(update_fields=["seq", "hash", "seal"])
    return rows


def _next(head: AuditHead, fact: Fact) -> AuditEntry:
    """The entry after the head's."""
    at = fact.at or timezone.now()
    told = {
        "seq": head.seq + 1,
        "at": at.isoformat(),
        "event": fact.event,
        "actor": fact.actor,
        "details": dict(fact.details),
    }
    text = json.dumps(told, sort_keys=True, separators=(",", ":"), default=str, ensure_ascii=False)
    return AuditEntry(
        workspace_id=head.workspace_id,
        seq=head.seq + 1,
        at=at,
        event=fact.event,
        actor=fact.actor,
        entry=text,
        previous_hash=head.hash,
        hash=entry_hash(head.hash, text),
    )


def verify(workspace_id: UUID) -> Break | None:
    """The first place where this workspace's chain is altered, missing an entry or cut off; None when whole."""
    seq, previous = 0, GENESIS
    for row in AuditEntry.objects.filter(workspace_id=workspace_id).order_by("seq").iterator(chunk_size=1000):
        if row.seq != seq + 1:
            return Break(workspace_id, seq + 1, "this entry is missing")
        if row.previous_hash != previous or row.hash != entry_hash(previous, row.entry) or not _agrees(row):
            return Break(workspace_id, row.seq, "this entry was altered")
        seq, previous = row.seq, row.hash
    head = AuditHead.objects.filter(workspace_id=workspace_id).first()
    if head is None:
        # A workspace's first entry is its own creation: there is never nothing.
        return Break(workspace_id, seq, "the chain's anchor is missing")
    if not is_sealed(head):
        return Break(workspace_id, head.seq, "the chain's anchor was altered")
    if (head.seq, head.hash) != (seq, previous):
        return Break(workspace_id, seq + 1, "entries were cut off the end")
    return None


def _agrees(row: AuditEntry) -> bool:
    """Whether the columns that people filter by say what the hashed text says."""
    facts = json.loads(row.entry)
    return (facts["seq"], facts["event"], facts["actor"], facts["at"]) == (
        row.seq,
        row.event,
        row.actor,
        row.at.isoformat(),
    )


def verify_all() -> list[Break]:
    """The first break of every workspace that has one; also of those whose entries are all gone."""
    workspaces = Workspace.objects.order_by("pk").values_list("pk", flat=True)
    found = (verify(workspace_id) for workspace_id in workspaces)
    return [broken for broken in found if broken is not None]
