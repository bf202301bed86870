"""The gate: the questions that agents ask before they act, and the shape of the answers.

`settings.AGENT_GATE` names who answers, as Django does with its authentication backends. A gate that fails denies.
"""

from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from functools import cache
from typing import Any, Protocol
from uuid import UUID

import structlog
from django.conf import settings
from django.utils.module_loading import import_string

from atom.ground.errors import Unavailable
from atom.ground.journal import Entry
from llm.errors import LLMError
from llm.spending import Hold

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
    `complexity` is what a person has said of the tool, in place of the catalogue.
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
    complexity: int | None = None
    # The verdict's record may be written a moment later: the verdict then carries it, and whoever asked notes it.
    may_wait: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gate decided, why, and by which rule. `is_error`: it could not be judged, which denies."""

    decision: Decision
    reason: str
    complexity: int
    required_maturity: str | None = None
    rule: str = ""
    policy_version: str = ""
    decision_id: UUID | None = None
    approval_id: UUID | None = None
    is_error: bool = False
    # For the journal, when the record is not written yet.
    entry: Entry | None = None

    @property
    def is_allowed(self) -> bool:
        return self.decision in {Decision.ALLOW, Decision.WATCH}


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of an approval: `pending`, `approved` (and now taken: nobody gets it again), or refused.

    Of an action that Atom runs also `executed` or `failed`, with what the tool said in `reason`.
    """

    status: str
    arguments: dict[str, Any]
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Held:
    """A tool call that waits, or waited, for people."""

    approval_id: UUID
    agent_id: UUID
    run_id: UUID | None
    tool: str
    call_id: str
    is_run_by_atom: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Spender:
    """Whose call is about to cost money, or whose action may have to pay for what comes after it."""

    workspace_id: UUID
    agent_id: UUID
    run_id: UUID | None
    token_id: UUID | None = None
    session_id: UUID | None = None


class Gate(Protocol):
    async def judge(self, action: Action) -> Verdict:
        """May this action happen? Stored with its inputs; ASK comes with an approval."""
        ...

    async def take(self, approval_id: UUID) -> Answer:
        """Claim an approved action for its one execution, by the client that waits for it."""
        ...

    async def held(self, workspace_id: UUID, approval_id: UUID) -> Held | None:
        """The call that this approval is about; None where the workspace has no such approval."""
        ...

    async def asked_before(self, action: Action) -> UUID | None:
        """The approval of the same action, asked for outside a run, whose end nobody has been told yet."""
        ...

    async def outcome(self, approval_id: UUID) -> Answer:
        """What became of an action that Atom runs outside a run. An end is told once."""
        ...

    async def reserve(self, spender: Spender, model: str, estimate_usd: Decimal) -> Hold | None:
        """May this be spent? Set aside until the hold is settled; None where no budget counts. Raises OverBudget."""
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
            is_error=True,
        )


async def reserve(spender: Spender, model: str, estimate_usd: Decimal) -> Hold | None:
    """Set money aside; a gate that fails lets nothing be spent. Raises OverBudget, or Unavailable."""
    try:
        return await gate().reserve(spender, model, estimate_usd)
    except LLMError:
        raise
    except Exception as exc:
        log.exception("gate_failed", action="spend", agent=str(spender.agent_id))
        raise Unavailable("Budgets could not be looked at just now, so nothing was spent.") from exc


@dataclass(frozen=True, slots=True)
class Purse:
    """`llm.spending.Purse` for one run: the gate is asked before each of its calls."""

    spender: Spender

    async def reserve(self, model: str, estimate_usd: Decimal) -> Hold | None:
        return await reserve(self.spender, model, estimate_usd)
