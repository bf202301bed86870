"""Bounds for what is allowed: how often, how much money a day, how large a transfer, how many deletions at once.

What crosses one asks a person. An autonomous agent that crosses rate or spend is supervised from then on. The counts
come from the database, under the agent's lock, so that all processes count the same.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from itertools import chain
from typing import Any
from uuid import UUID

from django.utils import timezone

from agents import gate
from agents.fields import summed, total_of
from agents.models import Agent, Attempt
from governance.catalogue import PROPOSE, Assessment, words_of
from governance.matrix import BATCH, POLICY_VERSION, RATE, SPEND, TRANSFER, Ruling
from governance.models import Decision, Oversight

# Crossing these costs an autonomous agent its level.
VIOLATIONS = frozenset({RATE, SPEND})
_DELETES = frozenset({"delete", "remove", "drop", "purge", "wipe", "destroy"})


def bounded(action: gate.Action, agent: Agent, assessment: Assessment, ruling: Ruling, rules: Oversight) -> Ruling:
    """`ruling`, or a question to people where it would let something pass that is beyond the bounds.

    Rate and spend bound everything. How large and how many bounds what the matrix allows: where a policy's rule or a
    grant lets a transfer pass, a person has said how large it may be.
    """
    if ruling.decision not in {gate.Decision.ALLOW, gate.Decision.WATCH} or assessment.complexity < PROPOSE:
        return ruling
    is_matrix = ruling.rule.startswith("matrix:") and ruling.policy_version == POLICY_VERSION
    crossed = chain(_overrun(agent, rules), _too_large(action, rules) if is_matrix else ())
    for name, reason in crossed:
        return replace(ruling, decision=gate.Decision.ASK, rule=name, reason=reason, policy_version=POLICY_VERSION)
    return ruling


def _overrun(agent: Agent, rules: Oversight) -> Iterator[tuple[str, str]]:
    """The bounds over time that the agent has used up, each with its sentence."""
    now = timezone.now()
    if judged_lately(agent.pk, now) >= rules.actions_per_hour:
        yield (
            RATE,
            f"The agent {agent.slug} has used up its {rules.actions_per_hour} actions an hour; a person decides.",
        )
    if is_overspent(agent.pk, rules, now):
        yield SPEND, overspent_sentence(agent, rules)


def _too_large(action: gate.Action, rules: Oversight) -> Iterator[tuple[str, str]]:
    """The bounds that the action's arguments are beyond, each with its sentence."""
    words = set(words_of(action.name))
    if "transfer" in words and not _is_within(action.arguments, rules.transfer_most):
        yield TRANSFER, f"A transfer of more than {rules.transfer_most.normalize():f} needs a person's approval."
    if words & _DELETES and most_ids(action.arguments) > rules.batch_most:
        yield BATCH, f"Deleting more than {rules.batch_most} at once needs a person's approval."


def overspent_sentence(agent: Agent, rules: Oversight) -> str:
    return f"{agent.slug} has spent the {rules.usd_per_day.normalize():f} USD that it may a day: a person decides."


def judged_lately(agent_id: UUID, now: datetime) -> int:
    """How many actions of level 2 and above were judged within an hour; turns of conversation do not count."""
    since = now - timedelta(hours=1)
    return Decision.objects.filter(agent_id=agent_id, created_at__gt=since, complexity__gte=PROPOSE).count()


def is_overspent(agent_id: UUID, rules: Oversight, now: datetime) -> bool:
    """Whether the agent's calls have cost as much as a day (UTC) may; calls of unknown price count nothing."""
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    spent = Attempt.objects.filter(agent_id=agent_id, started_at__gte=midnight).aggregate(**summed("cost_usd"))
    return total_of(spent, "cost_usd") >= rules.usd_per_day


def _named(name: str, value: Any) -> Iterator[Any]:
    """Everything called `name` in the arguments, however deep and in whatever case."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key.lower() == name:
                yield inner
            yield from _named(name, inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _named(name, inner)


def _is_within(arguments: dict[str, Any], most: Decimal) -> bool:
    """Whether every amount is a number, and none is larger. What cannot be read as a number is not within."""
    return all(_is_small(amount, most) for amount in _named("amount", arguments))


def _is_small(amount: Any, most: Decimal) -> bool:
    if isinstance(amount, bool):
        return False
    try:
        # NaN compares as false, infinity as larger.
        return abs(Decimal(str(amount))) <= most
    except InvalidOperation:
        return False


def most_ids(arguments: dict[str, Any]) -> int:
    """The longest list of ids; a text counts as what its commas divide it into."""
    return max((_length(ids) for ids in _named("ids", arguments)), default=0)


def _length(ids: Any) -> int:
    if isinstance(ids, str):
        return len(ids.split(","))
    return len(ids) if isinstance(ids, list | dict) else 1
