"""The gate: the questions that agents ask before they act, and the shape of the answers.

`settings.AGENT_GATE` names who answers, as Django does with its authentication backends. A gate that fails denies.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from typing import Any, Protocol
from uuid import UUID

import structlog
from django.conf import settings
from django.utils.module_loading import import_string

log = structlog.get_logger(__name__)


class Decision(StrEnum):
    ALLOW = "allow"
    WATCH = "watch"
    ASK = "ask"
    DENY = "deny"


@dataclass(frozen=True, slots=True)
class Action:
    """Something an agent is about to do. `name` is the action (`delete`, `send_email`, `chat`), not the tool.

    `tool` and `call_id` are given when a model asked for it inside run `run_id`; `is_run_by_atom` says who executes.
    """

    workspace_id: UUID
    agent_id: UUID
    name: str
    arguments: dict[str, Any]
    user_id: UUID | None = None
    run_id: UUID | None = None
    tool: str = ""
    call_id: str = ""
    is_run_by_atom: bool = False
    context: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gate decided, why, and by which rule."""

    decision: Decision
    reason: str
    complexity: int
    required_maturity: str | None = None
    rule: str = ""
    policy_version: str = ""
    decision_id: UUID | None = None
    approval_id: UUID | None = None

    @property
    def is_allowed(self) -> bool:
        return self.decision in {Decision.ALLOW, Decision.WATCH}


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of an approval: `pending`, `approved` (and now taken: nobody gets it again), or refused."""

    status: str
    arguments: dict[str, Any]
    reason: str = ""


class Gate(Protocol):
    async def judge(self, action: Action) -> Verdict:
        """May this action happen? Stored with its inputs; ASK comes with an approval."""
        ...

    async def take(self, approval_id: UUID) -> Answer:
        """Claim an approved action for its one execution, by the client that waits for it."""
        ...


@cache
def gate() -> Gate:
    """The configured gate."""
    found: Gate = import_string(settings.AGENT_GATE)()
    return found


async def judge(action: Action) -> Verdict:
    """Ask the gate; a gate that fails denies, with a reason of its own."""
    try:
        return await gate().judge(action)
    except Exception:
        log.exception("gate_failed", action=action.name, agent=str(action.agent_id))
        return Verdict(
            Decision.DENY,
            "The action could not be judged because of an internal error.",
            4,
            rule="gate-error",
        )
