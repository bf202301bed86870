"""Trying a version on the decisions of the past: what it would have said, and what people said to the same calls.

The decisions are read one after the other, and only the tally is kept; a worker's memory does not grow with history.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from django.utils import timezone

from agents.gate import Decision as Kind
from agents.models import Maturity
from governance.matrix import ABOVE_POLICIES, BOUNDS_OF_MATRIX, MATRIX, POLICY_VERSION
from governance.models import ApprovalStatus, Decision, PolicyReplay, ReplayStatus
from governance.policies.facts import Facts, JudgingError, Rules, normal_action
from governance.policies.problems import PolicyRefused
from governance.policies.reading import compile_policy

log = structlog.get_logger(__name__)

TELL_EVERY = 500
# So many kinds of flips are told; those beyond are counted together.
MAX_FLIPS = 500
_FIELDS = (
    "id",
    "agent__slug",
    "maturity",
    "action",
    "complexity",
    "arguments",
    "context",
    "session",
    "cost_usd",
    "created_at",
    "decision",
    "rule",
    "policy_version",
    "is_error",
    "approval__status",
)
_APPROVED = {ApprovalStatus.APPROVED, ApprovalStatus.EXECUTED, ApprovalStatus.FAILED}
_Row = dict[str, Any]


@dataclass(slots=True)
class Flip:
    """One agent's action that would be decided otherwise: how often, and what people had said to it."""

    count: int = 0
    approved: int = 0
    rejected: int = 0
    example: str = ""


@dataclass(slots=True)
class Tally:
    flips: dict[tuple[str, str, str, str], Flip] = field(default_factory=dict)
    rules: Counter[str] = field(default_factory=Counter)
    asks_before: int = 0
    asks_after: int = 0
    errors: int = 0
    flips_beyond: int = 0
    rows: int = 0
    first_at: datetime | None = None

    def add(self, row: _Row, would: str, rule: str | None) -> None:
        self.rows += 1
        self.first_at = self.first_at or row["created_at"]
        if rule is not None:
            self.rules[rule] += 1
        was = "error" if row["is_error"] else row["decision"]
        self.errors += would == "error"
        self.asks_before += was == Kind.ASK
        self.asks_after += would == Kind.ASK
        if was != would:
            self._flip(row, (row["agent__slug"], row["action"], was, would))

    def _flip(self, row: _Row, key: tuple[str, str, str, str]) -> None:
        if key not in self.flips and len(self.flips) >= MAX_FLIPS:
            self.flips_beyond += 1
            return
        flip = self.flips.setdefault(key, Flip(example=str(row["id"])))
        flip.count += 1
        flip.approved += row["approval__status"] in _APPROVED
        flip.rejected += row["approval__status"] == ApprovalStatus.REJECTED

    def result(self, until: datetime) -> dict[str, Any]:
        """As JSON: flips by how often, approvals a day (over the days that there are decisions of, at least one)."""
        span = until - self.first_at if self.first_at else timedelta(0)
        days = max(span / timedelta(days=1), 1.0)
        flips = sorted(self.flips.items(), key=lambda item: (-item[1].count, item[0]))
        return {
            "flips": [
                {
                    "agent": agent,
                    "action": action,
                    "was": was,
                    "would_be": would,
                    "count": flip.count,
                    "approved_by_people": flip.approved,
                    "rejected_by_people": flip.rejected,
                    "example": flip.example,
                }
                for (agent, action, was, would), flip in flips
            ],
            "flips_beyond": self.flips_beyond,
            "rules": dict(self.rules),
            "asks_before": self.asks_before,
            "asks_after": self.asks_after,
            "approvals_added_a_day": round((self.asks_after - self.asks_before) / days, 2),
            "errors": self.errors,
            "days": round(days, 2),
        }


def run_replay(replay_id: UUID) -> bool:
    """Try the replay's version on its decisions, once; False when somebody else has begun."""
    queued = PolicyReplay.objects.filter(pk=replay_id, status=ReplayStatus.QUEUED)
    if not queued.update(status=ReplayStatus.RUNNING, updated_at=timezone.now()):
        return False
    replay = PolicyReplay.objects.select_related("version__policy").get(pk=replay_id)
    try:
        tally = _tally(replay)
    except PolicyRefused as exc:
        _tell(replay, status=ReplayStatus.FAILED, error=exc.message)
    except Exception:
        log.exception("replay_failed", replay=str(replay_id))
        _tell(replay, status=ReplayStatus.FAILED, error="The replay failed on our side.")
    else:
        # What was told in between may have been counted before a row was added or deleted.
        counted = {"rows_done": tally.rows, "rows_total": tally.rows}
        _tell(replay, status=ReplayStatus.DONE, result=tally.result(replay.until), **counted)
    return True


def _tell(replay: PolicyReplay, **values: Any) -> None:
    PolicyReplay.objects.filter(pk=replay.pk).update(updated_at=timezone.now(), **values)


def _tally(replay: PolicyReplay) -> Tally:
    rules = compile_policy(replay.version.source).rules
    rows = Decision.objects.filter(
        workspace_id=replay.version.policy.workspace_id, created_at__gte=replay.since, created_at__lte=replay.until
    )
    _tell(replay, rows_total=rows.count())
    tally = Tally()
    for row in _told(replay, rows.order_by("created_at").values(*_FIELDS).iterator(chunk_size=TELL_EVERY)):
        tally.add(row, *_would_be(rules, row))
    return tally


def _told(replay: PolicyReplay, rows: Iterator[_Row]) -> Iterator[_Row]:
    """The rows, and word of how many there were, now and then."""
    for count, row in enumerate(rows):
        if count % TELL_EVERY == 0:
            _tell(replay, rows_done=count)
        yield row


def _would_be(rules: Rules, row: _Row) -> tuple[str, str | None]:
    """The decision that the draft would have made, and its rule; None where the matrix decides."""
    if row["policy_version"] == POLICY_VERSION and row["rule"].startswith(ABOVE_POLICIES):
        # A paused agent is paused under every policy.
        return row["decision"], None
    facts = Facts(
        action=normal_action(row["action"]),
        agent=row["agent__slug"],
        maturity=row["maturity"],
        complexity=row["complexity"],
        hour=row["created_at"].hour,
        arguments=row["arguments"],
        context=row["context"],
        session=row["session"] or None,
        cost=row["cost_usd"],
    )
    try:
        match = rules.judge(facts)
    except JudgingError as exc:
        return "error", exc.rule
    if match is not None:
        return match.decision, match.rule
    if row["rule"] in BOUNDS_OF_MATRIX:
        return row["decision"], None
    return MATRIX[Maturity(facts.maturity)][facts.complexity - 1], None
