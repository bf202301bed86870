"""`make bench`: what a verdict of the rules costs, beside Cedar and Casbin with the same rules on the same questions.

A hundred rules over 25 actions, then a hundred about one action of which none holds; the questions are drawn from a
fixed seed. Each engine is asked the same questions, one at a time, and before it is timed all three must agree.
"""

import gc
import logging
import os
import random
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import casbin
import cedarpy
import django
from django.conf import settings

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
django.setup()

# Models may be imported only now.
from governance.policies.compile import CompiledRules  # noqa: E402
from governance.policies.document import read_document  # noqa: E402
from governance.policies.facts import Facts  # noqa: E402
from governance.policies.source import text_of  # noqa: E402

RULES, ACTIONS, QUESTIONS = 100, 25, 20_000
# Interpreters are some hundred times slower; fewer questions give the same figures.
FEWER = 2_000
P50_US, P99_US = 5.0, 25.0
MODEL = """
[request_definition]
r = agent, action, amount, hour
[policy_definition]
p = action, low, hour, agent, eft
[policy_effect]
e = !some(where (p.eft == deny))
[matchers]
m = r.action == p.action && r.amount > p.low && r.hour >= p.hour && (p.agent == "*" || r.agent == p.agent)
"""
Ask = Callable[[Facts], bool]


def rules() -> list[dict[str, Any]]:
    """Denials by action, amount, hour and agent, in numbers that every engine can compare."""
    chance = random.Random(7)
    return [
        {
            "action": f"action_{number % ACTIONS}",
            "low": chance.randrange(0, 1_000),
            "hour": chance.choice([0, 0, 6, 18]),
            "agent": chance.choice(["*", "*", "*", "agent-1", "agent-2"]),
        }
        for number in range(RULES)
    ]


def about_one_action(given: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The worst case: all hundred rules are about the action that is asked, and none of them holds."""
    return [{**rule, "action": "action_0", "hour": 24} for rule in given]


def questions(count: int, actions: int = ACTIONS + 5) -> list[Facts]:
    chance = random.Random(11)
    return [
        Facts(
            action=f"action_{chance.randrange(actions)}",
            agent=f"agent-{chance.randrange(4)}",
            maturity="supervised",
            complexity=3,
            hour=chance.randrange(24),
            arguments={"amount": chance.randrange(1_000), "to": "somebody"},
        )
        for _ in range(count)
    ]


def atom(given: list[dict[str, Any]]) -> Ask:
    document = [
        {
            "name": f"rule {place}",
            "actions": [rule["action"]],
            "decision": "deny",
            "when": f"arguments.amount > {rule['low']} and hour >= {rule['hour']}",
            **({} if rule["agent"] == "*" else {"agents": [rule["agent"]]}),
        }
        for place, rule in enumerate(given)
    ]
    compiled = CompiledRules(read_document(text_of({"version": 1, "rules": document})).rules)
    return lambda facts: compiled.judge(facts) is None


def cedar(given: list[dict[str, Any]]) -> Ask:
    lines = ["permit(principal, action, resource);"]
    for rule in given:
        who = "principal" if rule["agent"] == "*" else f'principal == Agent::"{rule["agent"]}"'
        lines.append(
            f'forbid({who}, action == Action::"{rule["action"]}", resource)'
            f" when {{ context.amount > {rule['low']} && context.hour >= {rule['hour']} }};"
        )
    policies = cedarpy.PolicySet.from_str("\n".join(lines))

    def ask(facts: Facts) -> bool:
        request = {
            "principal": {"type": "Agent", "id": facts.agent},
            "action": {"type": "Action", "id": facts.action},
            "resource": {"type": "Workspace", "id": "atom"},
            "context": {"amount": facts.arguments["amount"], "hour": facts.hour},
        }
        return bool(cedarpy.is_authorized(request, policies, []).allowed)

    return ask


def by_casbin(given: list[dict[str, Any]]) -> Ask:
    logging.getLogger("casbin").setLevel(logging.WARNING)
    model = casbin.Model()
    model.load_model_from_text(MODEL)
    enforcer = casbin.Enforcer(model)
    for rule in given:
        # Casbin's own interface keeps texts; the comparison needs numbers, so they are put there directly.
        row = [rule["action"], rule["low"], rule["hour"], rule["agent"], "deny"]
        enforcer.model["p"]["p"].policy.append(row)
    return lambda facts: bool(enforcer.enforce(facts.agent, facts.action, facts.arguments["amount"], facts.hour))


def timed(ask: Ask, asked: list[Facts]) -> list[float]:
    """Microseconds of each question, sorted."""
    for facts in asked[:500]:
        ask(facts)
    clock, found = time.perf_counter_ns, []
    gc.disable()
    for facts in asked:
        start = clock()
        ask(facts)
        found.append((clock() - start) / 1_000)
    gc.enable()
    return sorted(found)


def compared(title: str, given: list[dict[str, Any]], asked: list[Facts]) -> bool:
    """Print what each engine takes for these rules; whether Atom keeps its limits and all of them agree."""
    engines = {"Atom": atom(given), "Cedar (cedarpy)": cedar(given), "Casbin": by_casbin(given)}
    answers = {name: [ask(facts) for facts in asked[:FEWER]] for name, ask in engines.items()}
    if len({tuple(said) for said in answers.values()}) != 1:
        print("The engines do not agree, so their times say nothing.")
        return False
    print(f"{title}: {sum(answers['Atom'])} of {FEWER} allowed, all agree")
    figures = {}
    for name, ask in engines.items():
        times = timed(ask, asked if name == "Atom" else asked[:FEWER])
        figures[name] = statistics.median(times), times[int(len(times) * 0.99)]
        print(f"  {name:20}{figures[name][0]:10.2f}{figures[name][1]:10.2f}")
    p50, p99 = figures["Atom"]
    return p50 <= P50_US and p99 <= P99_US


def main() -> int:
    given = rules()
    print(f"A verdict by {RULES} rules, in microseconds\n{'':22}{'p50':>10}{'p99':>10}")
    spread = compared(f"Rules over {ACTIONS} actions", given, questions(QUESTIONS))
    worst = compared("All rules about one action", about_one_action(given), questions(QUESTIONS, actions=1))
    is_within = spread and worst
    print(f"limit: p50 {P50_US:g}, p99 {P99_US:g}: {'kept' if is_within else 'exceeded'}")
    return 0 if is_within else 1


if __name__ == "__main__":
    status = main()
    # The settings of the tests make a home of their own.
    shutil.rmtree(settings.ATOM_HOME, ignore_errors=True)
    sys.exit(status)
