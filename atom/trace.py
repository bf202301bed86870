"""One id leads to everything about an answer: run and cost, feedback, decisions, approvals, audit entries."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

from django.db.models import Model, Q, QuerySet

from agents import queries as agent_queries
from agents.models import Message, Run
from atom.ground import queries as ground_queries
from atom.ground import trail
from atom.ground.errors import Forbidden, NotFound
from atom.ground.models import AuditEntry, Scope
from atom.ground.principal import Principal
from feedback import queries as feedback_queries
from feedback.models import Feedback
from governance import queries as governance_queries
from governance.models import Approval, Decision

T = TypeVar("T")
M = TypeVar("M", bound=Model)
# What an audit entry may name that a trace can begin with.
_TRACED = ("run", "approval", "decision", "feedback")


@dataclass(frozen=True, slots=True)
class Trace:
    """What belongs together; None where the principal's scopes do not reach."""

    run: Run | None
    messages: list[Message] | None
    feedback: list[Feedback] | None
    decisions: list[Decision] | None
    approvals: list[Approval] | None
    audit: list[AuditEntry] | None


@dataclass(frozen=True, slots=True)
class _Start:
    """What an id stands for: a run; or, outside of any run, a decision; or an audit entry about neither."""

    run_id: UUID | None = None
    decision_id: UUID | None = None
    entry_id: UUID | None = None


def trace(principal: Principal, reference: UUID) -> Trace:
    """All about a run, or what belongs to it: a message, an approval, a decision, feedback or an audit entry.

    Raises NotFound for an id that the principal may not see, whoever's it is.
    """
    start = _start(principal, reference)
    by_run = Q(run_id=start.run_id) if start.run_id else Q(pk__in=[])
    runs = _seen(lambda: _runs(principal).filter(pk=start.run_id) if start.run_id else _runs(principal).none())
    decisions = _seen(lambda: governance_queries.decisions_of(principal).filter(by_run | Q(pk=start.decision_id)))
    asked = by_run | Q(decision_id=start.decision_id)
    approvals = _seen(lambda: governance_queries.approvals_of(principal).filter(asked))
    feedback = _seen(lambda: _feedback(principal).filter(by_run))
    # The trail names what it is about, and its reader may see it all.
    ids = [one for one in (start.run_id, start.decision_id, start.entry_id) if one]
    for rows in (decisions, approvals, feedback):
        ids += [row.pk for row in rows or ()]
    return Trace(
        run=runs[0] if runs else None,
        messages=_seen(lambda: _messages(principal).filter(by_run).order_by("created_at")),
        feedback=feedback,
        decisions=_oldest_first(decisions),
        approvals=_oldest_first(approvals),
        audit=_seen(lambda: trail.about(ground_queries.audit_of(principal), ids).order_by("seq")),
    )


def _runs(principal: Principal) -> QuerySet[Run]:
    principal.require(Scope.CHAT)
    return agent_queries.runs_of(principal).prefetch_related("tried")


def _messages(principal: Principal) -> QuerySet[Message]:
    principal.require(Scope.CHAT)
    return Message.objects.filter(workspace_id=principal.workspace_id)


def _feedback(principal: Principal) -> QuerySet[Feedback]:
    principal.require(Scope.FEEDBACK)
    return feedback_queries.feedback_of(principal)


def _seen(read: Callable[[], QuerySet[M]]) -> list[M] | None:
    try:
        return list(read())
    except Forbidden:
        return None


def _oldest_first(rows: list[Any] | None) -> list[Any] | None:
    return None if rows is None else sorted(rows, key=lambda row: row.created_at)


def _start(principal: Principal, reference: UUID) -> _Start:
    for find in (_of_run, _of_message, _of_decision, _of_approval, _of_feedback, _of_entry):
        try:
            found = find(principal, reference)
        except Forbidden:
            continue
        if found is not None:
            return found
    raise NotFound("There is nothing with this id.")


def _of_run(principal: Principal, reference: UUID) -> _Start | None:
    return _Start(run_id=reference) if _runs(principal).filter(pk=reference).exists() else None


def _of_message(principal: Principal, reference: UUID) -> _Start | None:
    found = _messages(principal).filter(pk=reference).exclude(run=None).first()
    return _Start(run_id=found.run_id) if found else None


def _of_decision(principal: Principal, reference: UUID) -> _Start | None:
    found = governance_queries.decisions_of(principal).filter(pk=reference).first()
    return _Start(run_id=found.run_id, decision_id=found.pk) if found else None


def _of_approval(principal: Principal, reference: UUID) -> _Start | None:
    found = governance_queries.approvals_of(principal).filter(pk=reference).first()
    return _Start(run_id=found.run_id, decision_id=found.decision_id) if found else None


def _of_feedback(principal: Principal, reference: UUID) -> _Start | None:
    found = _feedback(principal).filter(pk=reference).first()
    return _Start(run_id=found.run_id) if found else None


def _of_entry(principal: Principal, reference: UUID) -> _Start | None:
    entry = ground_queries.audit_of(principal).filter(pk=reference).first()
    if entry is None:
        return None
    for named in _named(entry):
        for find in (_of_run, _of_decision, _of_approval, _of_feedback):
            found = find(principal, named)
            if found is not None:
                return found
    return _Start(entry_id=reference)


def _named(entry: AuditEntry) -> Iterator[UUID]:
    details = json.loads(entry.entry)["details"]
    for kind in _TRACED:
        if details.get(kind):
            yield UUID(details[kind])
