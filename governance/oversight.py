"""A workspace's rules for all its agents: read by the gate, changed by its owner."""

from typing import Any
from uuid import UUID

from django.db import transaction

from atom.ground import audit
from atom.ground.models import Scope
from atom.ground.principal import Principal
from atom.ground.snapshots import Snapshots
from governance.models import Oversight

EDITABLE = frozenset(
    {
        "supervision_required",
        "spot_check_share",
        "actions_per_hour",
        "usd_per_day",
        "transfer_most",
        "batch_most",
    }
)


def oversight_of(workspace_id: UUID) -> Oversight:
    """The workspace's rules; the defaults where nobody set any."""
    return Oversight.objects.filter(pk=workspace_id).first() or Oversight(workspace_id=workspace_id)


# For those who may be half a second behind.
OVERSIGHT: Snapshots[Oversight] = Snapshots("oversight", oversight_of)


def locked_oversight(workspace_id: UUID) -> Oversight:
    """The workspace's own row, made if need be, for this transaction alone."""
    OVERSIGHT.changing(workspace_id)
    Oversight.objects.get_or_create(workspace_id=workspace_id)
    return Oversight.objects.select_for_update(no_key=True).get(pk=workspace_id)


@transaction.atomic
def change_oversight(*, principal: Principal, **changes: Any) -> Oversight:
    """Change the rules of the principal's workspace, in force with the next action that is judged, in every process."""
    principal.require(Scope.ADMIN)
    found = locked_oversight(principal.workspace_id)
    wanted = {name: changes[name] for name in sorted(EDITABLE & changes.keys())}
    before = {name: getattr(found, name) for name in wanted}
    for name, value in wanted.items():
        setattr(found, name, value)
    found.save(update_fields=list(wanted))
    audit.append(
        workspace_id=principal.workspace_id,
        actor=principal.username,
        event="workspace.oversight_changed",
        details={"before": before, "after": wanted},
    )
    return found
