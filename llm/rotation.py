"""Resealing of everything that is stored sealed, under the newest key of the ring, while Atom goes on serving.

Each row is one conditional update in a transaction of its own: stopped at any point, the next run goes on from there.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias
from uuid import UUID

from django.db import models, transaction

from atom.ground import audit
from llm import sealing
from llm.models import ProviderKey

Outcome: TypeAlias = Literal["resealed", "current", "gone"]
Told: TypeAlias = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class SealedTable:
    """A table with one sealed column, whose rows belong to workspaces.

    `bound_to` gives what a row's seal is bound to beside its workspace, `str(row)` is how people know the row.
    """

    kind: str
    model: type[models.Model]
    column: str
    bound_to: Callable[[Any], str]


@dataclass(frozen=True, slots=True)
class Shut:
    """A row that no key of the ring opens."""

    kind: str
    id: UUID
    name: str
    workspace_id: UUID
    why: str


@dataclass(slots=True)
class Report:
    """`resealed` counts, on a dry run, what would be."""

    resealed: int = 0
    current: int = 0
    shut: list[Shut] = field(default_factory=list)


# Rooms above join theirs with `also_sealed`.
TABLES: list[SealedTable] = [SealedTable("provider_key", ProviderKey, "sealed", lambda key: str(key.provider))]


def also_sealed(table: SealedTable) -> None:
    """Another table whose rows are resealed with the rest."""
    TABLES.append(table)


def rotate(
    *,
    by: str,
    dry_run: bool = False,
    told: Told = lambda done, total: None,
    tables: Sequence[SealedTable] = TABLES,
) -> Report:
    """Reseal every row that an older key of the ring has sealed; `told` hears how many of how many are done.

    Passes are made until one finds nothing to do: processes that do not have the new key yet seal with the old one.
    Raises BadKeyRing.
    """
    report = _pass(by=by, dry_run=dry_run, told=told, tables=tables)
    latest = report
    while latest.resealed and not dry_run:
        latest = _pass(by=by, dry_run=False, told=told, tables=tables)
        report.resealed += latest.resealed
        # The first pass says what was current before; the last one what is shut at the end.
        report.shut = latest.shut
    return report


def _pass(*, by: str, dry_run: bool, told: Told, tables: Sequence[SealedTable]) -> Report:
    report = Report()
    rows = list(_all(tables))
    told(0, len(rows))
    for done, (table, row_id) in enumerate(rows, start=1):
        try:
            outcome = _reseal(table, row_id, by=by, dry_run=dry_run)
        except sealing.Undecryptable as exc:
            report.shut += _shut(table, row_id, exc.message)
        else:
            report.resealed += outcome == "resealed"
            report.current += outcome == "current"
        told(done, len(rows))
    return report


def _all(tables: Sequence[SealedTable]) -> Iterator[tuple[SealedTable, UUID]]:
    for table in tables:
        for row_id in table.model._default_manager.order_by("pk").values_list("pk", flat=True):
            yield table, row_id


def _reseal(table: SealedTable, row_id: UUID, *, by: str, dry_run: bool) -> Outcome:
    """Raise Undecryptable for a row that does not open, also when the newest key has sealed it."""
    while True:
        row: Any = table.model._default_manager.filter(pk=row_id).first()
        if row is None:
            return "gone"
        blob = bytes(getattr(row, table.column))
        bound_to = table.bound_to(row)
        secret = sealing.unseal(blob, workspace_id=row.workspace_id, provider=bound_to)
        if sealing.is_current(blob):
            return "current"
        if dry_run:
            return "resealed"
        sealed = sealing.seal(secret, workspace_id=row.workspace_id, provider=bound_to)
        if _replace(table, row, blob, sealed, by=by):
            return "resealed"
        # Somebody entered another secret meanwhile, which must not be lost: look again.


@transaction.atomic
def _replace(table: SealedTable, row: Any, old: bytes, new: bytes, *, by: str) -> bool:
    """Whether the row still was as it had been read, and now holds `new`."""
    unchanged = table.model._default_manager.filter(pk=row.pk, **{table.column: old})
    if not unchanged.update(**{table.column: new}):
        return False
    audit.append(
        workspace_id=row.workspace_id,
        actor=by,
        event=f"{table.kind}.resealed",
        details={table.kind: row.pk, "name": str(row)},
    )
    return True


def _shut(table: SealedTable, row_id: UUID, why: str) -> Iterator[Shut]:
    row: Any = table.model._default_manager.filter(pk=row_id).first()
    if row is not None:
        yield Shut(table.kind, row.pk, str(row), row.workspace_id, why)
