"""What a policy is asked about, and what it answers: the same for every policy language."""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol

from agents.gate import Decision
from governance.catalogue import words_of

# The strictest first.
STRICTNESS: dict[Decision, int] = {Decision.DENY: 3, Decision.ASK: 2, Decision.WATCH: 1, Decision.ALLOW: 0}
LEVELS: tuple[str, ...] = ("student", "intern", "supervised", "autonomous")


@dataclass(frozen=True, slots=True)
class Facts:
    """One action as policies see it. `action` is in its normal form, `hour` is UTC, `cost` in USD so far."""

    action: str
    agent: str
    maturity: str
    complexity: int
    hour: int
    arguments: dict[str, Any] = field(default_factory=dict)
    context: dict[str, Any] = field(default_factory=dict)
    session: str | None = None
    cost: float | None = None


@dataclass(frozen=True, slots=True)
class Match:
    """The rule that decides, and what it says."""

    rule: str
    decision: Decision
    quorum: int = 1
    four_eyes: bool = False


class JudgingError(Exception):
    """A rule could not be asked: the action has values of another kind than the rule compares with."""

    def __init__(self, rule: str, message: str) -> None:
        self.rule = rule
        self.message = message
        super().__init__(f"{rule}: {message}")


class Rules(Protocol):
    """A policy that is ready to be asked, in whatever language it was written."""

    def judge(self, facts: Facts) -> Match | None:
        """The rule that decides, or None when none speaks of this. Raises JudgingError."""
        ...


@lru_cache(maxsize=4096)
def normal_action(name: str) -> str:
    """`bulkDelete-Users` → `bulk_delete_users`: one spelling for every way to write an action's name."""
    return "_".join(words_of(name)) or name.lower()
