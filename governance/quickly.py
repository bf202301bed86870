"""Verdicts without the database: on what every call begins with, and is allowed.

All that such a verdict needs are snapshots; its record is written through the journal. Whatever is not simply allowed
is judged by `governance.judging`, and so is everything while the journal is closed.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib.auth import get_user_model

from agents import gate
from agents.models import Agent
from agents.roster import ROSTER, Roster
from atom.ground import audit, journal
from atom.ground.database import in_db_once
from governance.catalogue import PROPOSE
from governance.delegation import standing_of
from governance.judging import assessed, barred, facts_of, fields_of, recorded, ruling_on, verdict_of
from governance.models import Decision, Oversight
from governance.oversight import OVERSIGHT
from governance.policies.active import POLICIES, InForce

KIND = "decision"
_COLUMNS = Decision._meta.concrete_fields


@dataclass(frozen=True, slots=True)
class Known:
    """A workspace's snapshots, looked at together."""

    roster: Roster
    rules: Oversight
    policies: InForce


async def known(workspace_id: UUID) -> Known:
    """The snapshots as they are in this process, or, when they must be looked at again, as one reader finds them."""
    roster, rules = ROSTER.recalled(workspace_id), OVERSIGHT.recalled(workspace_id)
    policies = POLICIES.recalled(workspace_id)
    if roster is not None and rules is not None and policies is not None:
        return Known(roster, rules, policies)
    return await in_db_once(_read, workspace_id)


def _read(workspace_id: UUID) -> Known:
    return Known(ROSTER.get(workspace_id), OVERSIGHT.get(workspace_id), POLICIES.get(workspace_id))


def judge(action: gate.Action, known: Known) -> gate.Verdict | None:
    """The verdict with its record as a journal's entry; None where the database has to be asked."""
    started = time.perf_counter_ns()
    agent, assessment = known.roster.by_id.get(action.agent_id), assessed(action)
    if agent is None or assessment.complexity >= PROPOSE or action.context or action.run_id is not None:
        return None
    standing = standing_of(agent, action.context)
    facts = facts_of(action, agent, assessment, standing)
    if barred(assessment, known.rules, standing) is not None:
        return None
    ruling = ruling_on(agent, action.name, assessment, facts, known.policies)
    if ruling.decision != gate.Decision.ALLOW:
        return None
    latency_us = (time.perf_counter_ns() - started) // 1000
    fields = fields_of(action, agent, assessment, facts, ruling=ruling, in_force=known.policies, latency_us=latency_us)
    row = _row(fields)
    return verdict_of(ruling, assessment, row["id"], journal.Entry(KIND, row))


def _row(fields: dict[str, Any]) -> dict[str, Any]:
    """All columns, without the model around them, which takes as long as the verdict."""
    agent = fields.pop("agent")
    given = {**fields, "agent_id": agent.pk}
    return {
        field.attname: given[field.attname] if field.attname in given else field.get_default() for field in _COLUMNS
    }


@journal.writes(KIND, place=1)
def write(rows: Sequence[journal.Written]) -> None:
    """The decisions with their entries in the audit trail; those of agents that are gone went with them."""
    agents = {agent.pk: agent for agent in Agent.objects.filter(pk__in={row["agent_id"] for row in rows})}
    users = get_user_model().objects.in_bulk({row["user_id"] for row in rows if row["user_id"]})
    facts: dict[UUID, list[audit.Fact]] = {}
    decisions = []
    for row in rows:
        decision = _decision(row)
        agent = agents.get(decision.agent_id)
        if agent is None:
            continue
        decision.agent, decision.user = agent, users.get(decision.user_id)
        decisions.append(decision)
        facts.setdefault(decision.workspace_id, []).append(recorded(decision, agent))
    Decision.objects.bulk_create(decisions)
    for workspace_id, told in facts.items():
        audit.append_all(workspace_id, told)


def _decision(row: journal.Written) -> Decision:
    fields = {field.attname: field for field in Decision._meta.concrete_fields}
    return Decision(**{name: fields[name].to_python(value) for name, value in row.items()})
