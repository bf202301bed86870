"""Judging an action: the agent as it is now, the policy in force, the matrix; and the decision kept with its inputs."""

import time
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from agents import gate
from agents.models import Agent, AgentStatus, Maturity, Run
from atom.ground import audit, journal
from atom.ground.errors import BadRequest, NotFound
from governance import guardrails, presence
from governance.approvals import grants
from governance.approvals.inbox import announce
from governance.catalogue import PROPOSE, Assessment, assess
from governance.delegation import Standing, standing_of
from governance.digest import digest
from governance.known_agents import known_agent
from governance.matrix import POLICY_VERSION, Ruling, required_maturity, rule
from governance.maturity import levels, reviews, training
from governance.models import EXPIRES_AFTER, Approval, Decision, Oversight, Priority, Source
from governance.oversight import oversight_of
from governance.policies.active import POLICIES, InForce, Loaded, ruling_of
from governance.policies.facts import Facts, normal_action

NOT_JUDGED = "action.not_judged"
_EVENTS = {
    gate.Decision.ALLOW: "action.allowed",
    gate.Decision.WATCH: "action.watched",
    gate.Decision.DENY: "action.denied",
}


def binding_digest(*, agent_id: UUID, action: str, arguments: dict[str, Any], policy_version: str) -> str:
    """What an approval is bound to."""
    return digest({"agent": str(agent_id), "action": action, "arguments": arguments, "policy_version": policy_version})


def is_as_bound(approval: Approval) -> bool:
    """Whether the stored arguments are the ones that people were shown."""
    bound = binding_digest(
        agent_id=approval.agent_id,
        action=approval.action,
        arguments=approval.arguments,
        policy_version=approval.decision.policy_version,
    )
    return bound == approval.digest


@transaction.atomic
def judge_action(action: gate.Action, *, expires_in_s: float | None = None) -> gate.Verdict:
    """The verdict on `action`, stored with its inputs; ASK comes with a pending approval.

    `expires_in_s` shortens the time that people have. Raises BadRequest when it would lengthen it, and NotFound
    for an agent that the workspace does not have.
    """
    waits = _waiting_time(Priority.NORMAL, expires_in_s)
    started = time.perf_counter_ns()
    assessment = assessed(action)
    agent = _agent_of(action, assessment)
    rules = oversight_of(action.workspace_id)
    standing = standing_of(agent, action.context)
    facts = facts_of(action, agent, assessment, standing)
    ruling = barred(assessment, rules, standing)
    if ruling is None:
        ruling = _ruling(agent, action.name, assessment, facts)
        if standing.maturity == agent.maturity:
            # A grant was given to the agent itself, not to whoever of a lower level delegates to it.
            ruling = grants.applied(ruling, action)
        ruling = guardrails.bounded(action, agent, assessment, _watched(ruling, rules), rules)
    latency_us = (time.perf_counter_ns() - started) // 1000
    decision = _keep(action, agent, assessment, facts, ruling=ruling, latency_us=latency_us)
    _follow_up(decision, agent, rules)
    approval = None
    if ruling.decision == gate.Decision.ASK:
        approval = _ask_people(action, decision, ruling, waits)
    else:
        fact = recorded(decision, agent)
        audit.append_all(decision.workspace_id, [replace(fact, at=None)])
    verdict = verdict_of(ruling, assessment, decision.id)
    return replace(verdict, approval_id=approval.id) if approval else verdict


def verdict_of(
    ruling: Ruling, assessment: Assessment, decision_id: UUID, entry: journal.Entry | None = None
) -> gate.Verdict:
    """What whoever asked is told; `entry` where the decision is not written yet."""
    return gate.Verdict(
        decision=ruling.decision,
        reason=ruling.reason,
        complexity=assessment.complexity,
        required_maturity=ruling.required_maturity,
        rule=ruling.rule,
        policy_version=ruling.policy_version,
        decision_id=decision_id,
        is_error=ruling.is_error,
        entry=entry,
    )


def _agent_of(action: gate.Action, assessment: Assessment) -> Agent:
    """The agent as it is known; locked where guardrails count, so that no two judgements count the same place."""
    if assessment.complexity < PROPOSE:
        agent = known_agent(action.workspace_id, action.agent_id)
    else:
        rows = Agent.objects.filter(pk=action.agent_id, workspace_id=action.workspace_id)
        agent = rows.select_for_update(no_key=True).first()
    if agent is None:
        raise NotFound("There is no such agent.")
    return agent


def barred(assessment: Assessment, rules: Oversight, standing: Standing) -> Ruling | None:
    """A denial before any rule is asked: by the kill switch, or by the chain of delegation."""
    if rules.is_stopped:
        because = f": {rules.stopped_reason}" if rules.stopped_reason else "."
        why = ("kill-switch", f"All agents of this workspace are stopped{because}")
    elif standing.refusal:
        why = (standing.rule, standing.refusal)
    else:
        return None
    return Ruling(gate.Decision.DENY, required_maturity(assessment.complexity), *why)


def _watched(ruling: Ruling, rules: Oversight) -> Ruling:
    """What may happen under watch only asks, where supervision is required and nobody is watching."""
    if ruling.decision != gate.Decision.WATCH or not rules.supervision_required:
        return ruling
    if presence.is_watched(rules.workspace_id):
        return ruling
    reason = "Supervision is required and nobody is watching just now, so a person decides."
    return replace(
        ruling,
        decision=gate.Decision.ASK,
        rule="supervision-required",
        reason=reason,
        policy_version=POLICY_VERSION,
    )


def _follow_up(decision: Decision, agent: Agent, rules: Oversight) -> None:
    """What a decision means for the agent's learning: a task, a spot check, the loss of its level."""
    training.teach(agent, decision)
    reviews.mark(decision, rules.spot_check_share)
    if decision.rule in guardrails.VIOLATIONS:
        levels.punish(agent, reason=decision.reason, source=Source.DECISION, source_id=decision.pk)


def capability(
    agent: Agent, action_name: str, rules: Oversight, complexity: int | None = None
) -> tuple[Assessment, Ruling]:
    """What would be said if the agent wanted to do this now, without arguments; nothing is stored or counted."""
    action = gate.Action(
        workspace_id=agent.workspace_id, agent_id=agent.pk, name=action_name, arguments={}, complexity=complexity
    )
    assessment, standing = assessed(action), standing_of(agent, {})
    refusal = barred(assessment, rules, standing)
    if refusal is not None:
        return assessment, refusal
    ruling = _ruling(agent, action_name, assessment, facts_of(action, agent, assessment, standing))
    return assessment, _watched(ruling, rules)


def judge_again(approval: Approval) -> Ruling:
    """What is said today of an action that people were asked about: the agent and the policy may be others by now.

    Nothing is stored: the decision that asked stays as it was.
    """
    asked = approval.decision
    action = gate.Action(
        workspace_id=approval.workspace_id,
        agent_id=approval.agent_id,
        name=approval.action,
        arguments=approval.arguments,
        run_id=approval.run_id,
        context=asked.context,
    )
    agent = Agent.objects.get(pk=approval.agent_id)
    # As it was assessed then: somebody may have said it of the tool.
    assessment = Assessment(asked.complexity, is_known=not asked.is_unknown_action)
    standing = standing_of(agent, asked.context)
    refusal = barred(assessment, oversight_of(agent.workspace_id), standing)
    return refusal or _ruling(agent, action.name, assessment, facts_of(action, agent, assessment, standing))


def denied_today(approval: Approval) -> str:
    """Why what people approved may not happen now, because the agent's level or the policy changed since; or nothing.

    What only waits, because the agent is paused, is not denied.
    """
    if Agent.objects.filter(pk=approval.agent_id, status=AgentStatus.PAUSED).exists():
        return ""
    now = judge_again(approval)
    return now.reason if now.decision == gate.Decision.DENY else ""


def assessed(action: gate.Action) -> Assessment:
    """How grave the action is: as the catalogue says, unless its tool says it itself."""
    return assess(action.name) if action.complexity is None else Assessment(action.complexity)


def facts_of(action: gate.Action, agent: Agent, assessment: Assessment, standing: Standing) -> Facts:
    session, cost = action.context.get("session"), action.context.get("cost")
    if action.run_id is not None:
        # What a run knows itself is not taken from anybody's word.
        session, cost = Run.objects.values_list("session_id", "cost_usd").get(pk=action.run_id)
    return Facts(
        action=normal_action(action.name),
        agent=agent.slug,
        # The plain text: rules compare texts with texts.
        maturity=standing.maturity.value,
        complexity=assessment.complexity,
        hour=timezone.now().hour,
        arguments=action.arguments,
        context=action.context,
        session=None if session is None else str(session),
        cost=float(cost) if isinstance(cost, int | float | Decimal) and not isinstance(cost, bool) else None,
    )


def _waiting_time(priority: Priority, expires_in_s: float | None) -> timedelta:
    longest = EXPIRES_AFTER[priority]
    if expires_in_s is None:
        return longest
    if not 0 < expires_in_s <= longest.total_seconds():
        raise BadRequest(
            f"expires_in must be more than 0 and at most {longest.total_seconds():.0f} seconds.", param="expires_in"
        )
    return timedelta(seconds=expires_in_s)


def _ruling(agent: Agent, action: str, assessment: Assessment, facts: Facts) -> Ruling:
    return ruling_on(agent, action, assessment, facts, POLICIES.get(agent.workspace_id))


def ruling_on(agent: Agent, action: str, assessment: Assessment, facts: Facts, in_force: InForce) -> Ruling:
    """What the policy in force says, else the matrix; an agent that is not active may do nothing."""
    if agent.status == AgentStatus.ACTIVE:
        policy = in_force.active
        said = ruling_of(policy, facts) if policy else None
        return said or rule(Maturity(facts.maturity), action, assessment)
    until = "until a person resumes it" if agent.status == AgentStatus.PAUSED else "any more"
    return Ruling(
        decision=gate.Decision.DENY,
        required_maturity=required_maturity(assessment.complexity),
        rule=f"agent-{agent.status}",
        reason=f"The agent {agent.slug} is {agent.status} and may do nothing {until}.",
    )


def _keep(
    action: gate.Action, agent: Agent, assessment: Assessment, facts: Facts, *, ruling: Ruling, latency_us: int
) -> Decision:
    in_force = POLICIES.get(agent.workspace_id)
    fields = fields_of(action, agent, assessment, facts, ruling=ruling, in_force=in_force, latency_us=latency_us)
    return Decision.objects.create(**fields)


def fields_of(
    action: gate.Action,
    agent: Agent,
    assessment: Assessment,
    facts: Facts,
    *,
    ruling: Ruling,
    in_force: InForce,
    latency_us: int,
) -> dict[str, Any]:
    """The decision's row, with everything it was made from."""
    return {
        "workspace_id": action.workspace_id,
        "agent": agent,
        "maturity": agent.maturity,
        "action": action.name,
        "complexity": assessment.complexity,
        "is_unknown_action": not assessment.is_known,
        "arguments": action.arguments,
        "arguments_digest": digest(action.arguments),
        "context": action.context,
        "tool": action.tool,
        "is_run_by_atom": action.is_run_by_atom,
        "run_id": action.run_id,
        "user_id": action.user_id,
        "decision": ruling.decision,
        "reason": ruling.reason,
        "rule": ruling.rule,
        "policy_version": ruling.policy_version,
        "is_error": ruling.is_error,
        "session": facts.session or "",
        "cost_usd": facts.cost,
        "latency_us": latency_us,
        **_shadow(in_force.shadow, action.name, assessment, facts),
    }


def _shadow(policy: Loaded | None, action: str, assessment: Assessment, facts: Facts) -> dict[str, str]:
    """What the policy that judges without effect says, to be stored beside what happened."""
    if policy is None:
        return {}
    ruling = ruling_of(policy, facts) or rule(Maturity(facts.maturity), action, assessment)
    return {
        "shadow_decision": ruling.decision,
        "shadow_rule": f"error: {ruling.rule}"[:100] if ruling.is_error else ruling.rule,
        "shadow_policy_version": policy.name,
    }


def _ask_people(action: gate.Action, decision: Decision, ruling: Ruling, waits: timedelta) -> Approval:
    approval = Approval.objects.create(
        workspace_id=action.workspace_id,
        agent=decision.agent,
        decision=decision,
        action=action.name,
        tool=action.tool,
        arguments=action.arguments,
        digest=binding_digest(
            agent_id=action.agent_id,
            action=action.name,
            arguments=action.arguments,
            policy_version=decision.policy_version,
        ),
        quorum=ruling.quorum,
        four_eyes=ruling.four_eyes,
        expires_at=timezone.now() + waits,
        run_id=action.run_id,
        call_id=action.call_id,
        is_run_by_atom=action.is_run_by_atom,
        requested_by_id=action.user_id,
    )
    announce(approval)
    details = {"approval": approval.id, "digest": approval.digest, "expires_at": approval.expires_at}
    _record(decision, decision.agent, "approval.requested", details)
    return approval


def _record(decision: Decision, agent: Agent, event: str, more: dict[str, Any]) -> None:
    fact = fact_of(decision, agent, event, more)
    audit.append(workspace_id=decision.workspace_id, actor=fact.actor, event=event, details=fact.details)


def recorded(decision: Decision, agent: Agent) -> audit.Fact:
    """For the audit trail, of a decision that asks nobody: which question, and how it was answered."""
    event = NOT_JUDGED if decision.is_error else _EVENTS[gate.Decision(decision.decision)]
    return fact_of(decision, agent, event, {})


def fact_of(decision: Decision, agent: Agent, event: str, more: dict[str, Any]) -> audit.Fact:
    """For the audit trail: which question, how it was answered, and by which rule; the arguments as their digest."""
    details = {
        "decision": decision.id,
        "agent": agent.slug,
        "action": decision.action,
        "complexity": decision.complexity,
        "arguments_digest": decision.arguments_digest,
        "reason": decision.reason,
        "rule": decision.rule,
        "policy_version": decision.policy_version,
        "run": decision.run_id,
        **more,
    }
    if decision.is_unknown_action:
        details["note"] = "unknown action"
    actor = decision.user.username if decision.user else f"agent/{agent.slug}"
    return audit.Fact(actor, event, details, at=decision.created_at)
