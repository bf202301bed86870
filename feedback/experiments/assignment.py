"""Which variant a conversation is served by: a hash of who it is, so it needs no memory and never changes.

`settings.AGENT_VARIANTS` names `Experiments`; the agents' room asks it when a run begins.
"""

import hashlib
import time
from dataclasses import dataclass
from uuid import UUID

from agents import variants
from feedback.models import ExperimentStatus, Unit, Variant

# An experiment begins and ends everywhere within this; until then nobody asks the database.
REMEMBER_S = 1.0
# Who asks on the event loop asks within this, once it knows that no query is needed.
MOMENT_S = 0.1


@dataclass(frozen=True, slots=True)
class Arms:
    """A running experiment, as much of it as assigning takes."""

    experiment_id: UUID
    unit: str
    # Each variant as often as it weighs.
    slots: tuple[variants.Variant, ...]

    def choose(self, unit_id: UUID) -> variants.Variant:
        digest = hashlib.sha256(f"{self.experiment_id}:{unit_id}".encode()).digest()
        return self.slots[int.from_bytes(digest[:8], "big") % len(self.slots)]


class Experiments:
    """The chooser of `agents.variants`."""

    def __init__(self) -> None:
        self._until = 0.0
        self._running: dict[UUID, Arms] = {}

    def knows(self) -> bool:
        return time.monotonic() < self._until - MOMENT_S

    def choose(self, agent_id: UUID, *, session_id: UUID | None, user_id: UUID | None) -> variants.Variant | None:
        arms = self._now_running().get(agent_id)
        if arms is None:
            return None
        # A call that belongs to no conversation is its person's.
        unit_id = (session_id or user_id) if arms.unit == Unit.SESSION else user_id
        return arms.choose(unit_id) if unit_id else None

    def get(self, variant_id: UUID) -> variants.Variant | None:
        found = Variant.objects.filter(pk=variant_id).first()
        return as_variant(found) if found else None

    def _now_running(self) -> dict[UUID, Arms]:
        if time.monotonic() >= self._until:
            self._running = _running()
            self._until = time.monotonic() + REMEMBER_S
        return self._running


def _running() -> dict[UUID, Arms]:
    rows = Variant.objects.filter(experiment__status=ExperimentStatus.RUNNING).select_related("experiment")
    slots: dict[UUID, list[variants.Variant]] = {}
    experiments = {}
    for row in rows.order_by("experiment_id", "place"):
        experiments[row.experiment_id] = row.experiment
        slots.setdefault(row.experiment_id, []).extend([as_variant(row)] * row.weight)
    return {
        experiment.agent_id: Arms(experiment.id, experiment.unit, tuple(slots[experiment.id]))
        for experiment in experiments.values()
    }


def as_variant(row: Variant) -> variants.Variant:
    return variants.Variant(
        id=row.id,
        system_prompt=row.system_prompt,
        models=None if row.models is None else tuple(str(name) for name in row.models),
        temperature=row.temperature,
    )
