"""A workspace's agents as a snapshot: who acts, and as what, without a query.

What stands here is at most half a second behind, in the process that changed it not at all. The confidence is not kept
up: it changes with every run, and nobody who judges asks for it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models.signals import pre_delete, pre_save
from django.dispatch import receiver

from agents.models import Agent
from atom.ground.snapshots import Snapshots


@dataclass(frozen=True, slots=True)
class Roster:
    """The agents by id and by slug. The rows are shared by everybody who reads: nobody changes them."""

    by_id: dict[UUID, Agent]
    by_slug: dict[str, Agent]


def _load(workspace_id: UUID) -> Roster:
    rows = list(Agent.objects.filter(workspace_id=workspace_id))
    return Roster({row.pk: row for row in rows}, {row.slug: row for row in rows})


ROSTER: Snapshots[Roster] = Snapshots("agents", _load)


@receiver([pre_save, pre_delete], sender=Agent)
def _is_changing(instance: Agent, update_fields: Iterable[str] | None = None, **_: Any) -> None:
    """Whoever changes agents by `update` says so to the roster himself."""
    if instance._state.adding:
        # Other processes look for whom they do not know in the database.
        ROSTER.forget(instance.workspace_id)
        transaction.on_commit(partial(ROSTER.forget, instance.workspace_id))
    elif update_fields is None or set(update_fields) != {"confidence"}:
        ROSTER.changing(instance.workspace_id)
