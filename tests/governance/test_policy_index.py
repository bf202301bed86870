"""Many rules, of which only those are asked that can hold, decide what the same rules decide asked one by one."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.gate import Decision
from governance.policies import compile as compiling
from governance.policies.compile import CompiledRules
from governance.policies.facts import Facts, JudgingError
from governance.policies.meaning import ConditionError
from tests.governance.test_policy_meaning import FACTS, LEVELS, by_the_book, quoted, read_unchecked

# Values beside each other, at the edges of what numbers are, and alike in Python but not in JSON.
NUMBERS = st.sampled_from([0, 1, 1.0, 1.5, 2, -1, 5e-324, 2**53, 2**53 + 1, 2.0**53, 10**400, 1e308])
TEXTS = st.sampled_from(["", "a", "ab", "?", "a?"])
ANY = st.one_of(NUMBERS, TEXTS, st.just(float("nan")), st.booleans(), st.none(), st.just([1]), st.just({"a": 1}))
WHAT = st.sampled_from(["arguments.a", "arguments.b", "/o/a", "context.x"])
SIGNS = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])
SPLITTING = st.one_of(
    st.builds("{} {} {}".format, WHAT, SIGNS, NUMBERS),
    st.builds("{} {} {}".format, WHAT, st.sampled_from(["==", "!="]), (TEXTS | st.booleans()).map(quoted)),
    st.builds("{} {} [{}, {}]".format, WHAT, st.sampled_from(["in", "not in"]), NUMBERS, NUMBERS),
    st.builds("{} {} null".format, WHAT, st.sampled_from(["==", "!="])),
    st.builds("count(arguments.b) {} {}".format, SIGNS, st.integers(0, 2)),
    st.builds("maturity {} '{}'".format, SIGNS, st.sampled_from(LEVELS)),
    st.builds("hour {} {}".format, SIGNS, st.integers(0, 23)),
    st.builds("cost {} {}".format, SIGNS, st.integers(0, 1)),
    WHAT,
)
OTHER = st.sampled_from(["arguments.a startswith 'a'", "arguments.a == arguments.b", "(arguments.a or arguments.b)"])
CONDITIONS = st.lists(SPLITTING | SPLITTING.map("not ({})".format) | OTHER, min_size=1, max_size=3).map(" and ".join)
ONE = st.fixed_dictionaries(
    {
        "actions": st.just(["pay"]),
        "decision": st.sampled_from(list(Decision)),
        "priority": st.integers(0, 2),
        "when": CONDITIONS,
    },
    optional={"agents": st.sampled_from([["helper"], ["clerk", "helper"]])},
)
MANY = st.lists(ONE, min_size=compiling.INDEX_FROM, max_size=20)
ASKED = st.builds(
    lambda facts, arguments, context: Facts(
        "pay", facts.agent, facts.maturity, facts.complexity, facts.hour, arguments, context, facts.session, facts.cost
    ),
    FACTS,
    st.fixed_dictionaries({}, optional={"a": ANY, "b": ANY, "o": st.dictionaries(st.just("a"), ANY) | ANY}),
    st.dictionaries(st.just("x"), ANY),
)


def verdict(rules: CompiledRules, facts: Facts) -> Any:
    try:
        return rules.judge(facts)
    except JudgingError as exc:
        return exc.rule, exc.message


@settings(max_examples=250, deadline=None)
@given(MANY, st.lists(ASKED, min_size=1, max_size=4))
def test_many_rules_say_together_what_they_say_one_by_one(rules: list[dict[str, Any]], asked: list[Facts]) -> None:
    read = read_unchecked([{"name": f"rule {place}", **rule} for place, rule in enumerate(rules)])
    together = CompiledRules(read)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiling, "INDEX_FROM", len(rules) + 1)
        one_by_one = CompiledRules(read)
    for facts in asked:
        said = verdict(together, facts)
        assert said == verdict(one_by_one, facts)
        expected = by_the_book(rules, facts)
        if expected is None or isinstance(said, tuple):
            assert (said is None) == (expected is None)
        else:
            assert (said.rule, said.decision) == (f"rule {expected[1]}", expected[0])


def test_of_a_hundred_rules_only_those_that_can_hold_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    rules = [
        {
            "name": f"over {limit}",
            "actions": ["pay"],
            "decision": "deny",
            "when": f"arguments.amount > {limit} and arguments.to startswith 'x'",
        }
        for limit in range(100)
    ]
    asked: list[Facts] = []
    monkeypatch.setattr(compiling, "_entry", lambda rule: counted(rule, asked))
    compiled = CompiledRules(read_unchecked(rules))
    assert compiled.judge(Facts("pay", "helper", "intern", 4, 10, {"amount": 3, "to": "y"})) is None
    assert len(asked) == 3


def counted(rule: Any, asked: list[Facts]) -> compiling.Entry:
    holds, match, priority = ENTRY(rule)

    def noting(facts: Facts) -> bool:
        asked.append(facts)
        return holds(facts)

    return noting, match, priority


ENTRY = compiling._entry


def test_a_value_of_another_kind_fails_even_where_a_later_comparison_is_false() -> None:
    rules = [
        {"name": f"r{n}", "actions": ["pay"], "decision": "deny", "when": f"arguments.amount > {n} and hour > 20"}
        for n in range(10)
    ]
    with pytest.raises(JudgingError, match=r"arguments\.amount is a text"):
        CompiledRules(read_unchecked(rules)).judge(Facts("pay", "helper", "intern", 4, 10, {"amount": "600"}))


def test_a_value_that_cannot_be_looked_up_fails_as_it_does_alone() -> None:
    rules = [
        {"name": f"r{n}", "actions": ["pay"], "decision": "deny", "when": f"arguments.o.a > {n}"} for n in range(10)
    ]
    with pytest.raises(JudgingError) as failed:
        CompiledRules(read_unchecked(rules)).judge(Facts("pay", "helper", "intern", 4, 10, {"o": "text"}))
    assert isinstance(failed.value.__cause__, ConditionError)


def test_a_number_between_limits_that_no_float_tells_apart_is_in_its_place() -> None:
    low, high = 2**60, 2**60 + 5
    rules = [
        {
            "name": f"r{n}",
            "actions": ["pay"],
            "decision": "deny",
            "when": f"arguments.a > {low}.0 and arguments.a < {high}",
        }
        for n in range(10)
    ]
    compiled = CompiledRules(read_unchecked(rules))
    found = [compiled.judge(Facts("pay", "helper", "intern", 4, 10, {"a": number})) for number in (low, low + 2, high)]
    assert [match is not None for match in found] == [False, True, False]
