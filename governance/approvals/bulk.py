"""Many decisions at once: each by itself, so that one that fails takes no other with it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from atom.ground.errors import AtomError
from atom.ground.principal import Principal
from governance import queries, services
from governance.models import Approval

MOST = 100
DECISIONS: Mapping[str, Callable[..., Approval]] = {
    "approve": services.approve,
    "reject": services.reject,
    "cancel": services.cancel,
}


@dataclass(frozen=True, slots=True)
class Item:
    approval_id: UUID
    revision: int


@dataclass(frozen=True, slots=True)
class Done:
    """What became of one item: the approval as it is now, or why not."""

    approval_id: UUID
    approval: Approval | None = None
    error: AtomError | None = None


def decide_together(*, principal: Principal, decision: str, items: Sequence[Item], note: str = "") -> list[Done]:
    """The same decision on each item, in order."""
    return [_decided(principal, DECISIONS[decision], item, note) for item in items]


def _decided(principal: Principal, decide: Callable[..., Approval], item: Item, note: str) -> Done:
    try:
        approval = queries.get_approval(principal, item.approval_id)
        return Done(item.approval_id, decide(approval=approval, principal=principal, revision=item.revision, note=note))
    except AtomError as exc:
        return Done(item.approval_id, error=exc)
