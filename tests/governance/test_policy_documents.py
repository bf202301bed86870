"""What is refused at save, with its place; and what is not."""

import json

import pytest

from governance.policies.problems import PolicyRefused
from governance.policies.reading import check_policy
from governance.policies.source import text_of

SLUGS = {"helper", "clerk"}


def problems(text: str) -> list[tuple[int, int, str, str]]:
    with pytest.raises(PolicyRefused) as refused:
        check_policy(text, slugs=SLUGS)
    return [(found.line, found.column, found.path, found.message) for found in refused.value.problems]


def when(condition: str, **rule: object) -> str:
    given = {"name": "a", "actions": ["transfer"], "decision": "deny", "when": condition, **rule}
    return text_of({"version": 1, "rules": [given]})


def rules(*lines: str) -> str:
    return "version: 1\nrules:\n" + "\n".join(f"- {{{line}}}" for line in lines)


def test_a_policy_in_order_is_taken_as_yaml_and_as_json() -> None:
    document = {"version": 1, "rules": [{"name": "a", "actions": ["delete"], "decision": "deny"}]}
    for text in (
        json.dumps(document),
        text_of(document),
        "version: 1\nrules:\n- name: a\n  actions: [delete]\n  decision: deny",
    ):
        assert check_policy(text, slugs=SLUGS).document.rules[0].actions == ("delete",)


@pytest.mark.parametrize(
    ("text", "line", "column", "words"),
    [
        ("", 1, 1, "empty"),
        ("version: 2\nrules: [{name: a, actions: [x], decision: deny}]", 1, 10, "version"),
        ("version: 1", 1, 1, "'rules'"),
        ("version: 1\nrules: []", 2, 8, "at least one"),
        ("version: 1\nrule: []\nrules: [{name: a, actions: [x], decision: deny}]", 2, 7, "no field 'rule'"),
        (rules("name: a, actions: [x], decision: deny, whem: hour > 3"), 3, 49, "no field 'whem'"),
        (rules("name: a, actions: [x], decision: denied"), 3, 37, "allow, watch, ask, deny"),
        (rules("name: a, actions: x, decision: deny"), 3, 22, "list"),
        (rules("name: a, actions: [on], decision: deny"), 3, 23, "write it in quotes"),
        (rules("name: a, actions: [x, X], decision: deny"), 3, 26, "twice"),
        (rules("name: a, name: b, actions: [x], decision: deny"), 3, 13, "given twice"),
        (rules("actions: [x], decision: deny"), 3, 3, "'name'"),
        (rules("name: a, actions: [x], decision: deny, quorum: 2"), 3, 51, "Only a rule that asks"),
        (rules("name: a, actions: [x], decision: ask, quorum: 0"), 3, 50, "from 1 to 10"),
        (rules("name: a, actions: [x], decision: ask, four_eyes: 1"), 3, 53, "true or false"),
        (rules("name: a, actions: [x], decision: deny, priority: high"), 3, 53, "whole number"),
        (rules("name: a, actions: [x], decision: deny, agents: [nobody]"), 3, 52, "no agent 'nobody'"),
        (rules("name: a, actions: [x], decision: deny", "name: a, actions: [y], decision: deny"), 4, 3, "called 'a'"),
        ("version: 1\nrules: [&r {name: a}, *r]", 2, 23, "aliases"),
        ("version: 1\n  rules: [", 2, 8, "not YAML"),
        ("[" * 200, 1, 33, "too deep"),
        ("version: 1\x07", 1, 11, "character"),
    ],
)
def test_a_mistake_in_the_document_is_told_with_its_place(text: str, line: int, column: int, words: str) -> None:
    found = problems(text)
    assert (found[0][0], found[0][1]) == (line, column)
    assert words in found[0][3]


def test_all_mistakes_are_told_at_once() -> None:
    found = problems(
        rules("name: a, actions: [x], decision: nope", "name: b, actions: [x], decision: deny, when: hour > ")
    )
    assert [path for _, _, path, _ in found] == ["rules[0].decision", "rules[1].when"]


@pytest.mark.parametrize(
    ("condition", "offset", "words"),
    [
        ("amount > 5", 0, "Did you mean arguments.amount?"),
        ("arguments.a = 5", 12, "Write '==' instead of '='."),
        ("arguments.a > 5 && hour > 3", 16, "Write 'and' instead of '&&'."),
        ("arguments.a > 'x'", 14, "unlike types"),
        ("hour == 'noon'", 5, "unlike types"),
        ("arguments.a > 5 and arguments.a == 'x'", 32, "unlike types"),
        ("arguments.a and arguments.a > 5", 28, "unlike types"),
        ("maturity == 'studnt'", 12, "Levels: student, intern, supervised, autonomous"),
        ("action == 'Delete'", 10, "write 'delete'"),
        ("hour == 24", 8, "from 0 to 23"),
        ("arguments.a matches '(x'", 20, "regular expression"),
        ("arguments.a in []", 15, "empty list"),
        ("arguments.a in [1, 'x']", 15, "one kind"),
        ("arguments.a == [1]", 15, "'in'"),
        ("'x' == 'x'", 4, "two fixed values"),
        ("agent == 'nobody'", 9, "no agent 'nobody'"),
        ("agent == null", 6, "never null"),
        ("arguments", 0, "arguments.name"),
        ("(hour > 3", 9, "')' is expected"),
        ("hour > 3 hour < 5", 9, "'and', 'or' or the end"),
        ("arguments.a == 'x", 15, "no end"),
        ("AND", 0, "lower case"),
        ("true", 4, "comparison is expected"),
        ("not " * 200 + "arguments.a", 168, "nested deeper"),
    ],
)
def test_a_mistake_in_a_condition_is_told_with_its_place(condition: str, offset: int, words: str) -> None:
    line, column, path, message = problems(when(condition))[0]
    assert path == "rules[0].when"
    assert words in message
    source = when(condition).splitlines()[line - 1]
    assert line == 10
    assert column == source.index(': "') + 4 + offset


@pytest.mark.parametrize(
    ("style", "place"),
    [
        ("when: hour > 3 and foo > 5", (6, 22)),
        ("when: 'hour > 3 and foo > 5'", (6, 23)),
        ('when: "agent != \\"clerk\\" and foo > 5"', (6, 33)),
        ("when: |\n    hour > 3\n    and foo > 5", (8, 9)),
        ("when: >-\n    hour > 3\n\n    and\n    foo > 5", (10, 5)),
        ("when: hour > 3\n    and   foo > 5", (7, 11)),
    ],
)
def test_the_place_is_right_in_every_style_of_yaml(style: str, place: tuple[int, int]) -> None:
    text = f"version: 1\nrules:\n- name: a\n  actions: [transfer]\n  decision: deny\n  {style}\n"
    assert problems(text)[0][:2] == place


@pytest.mark.parametrize(
    "condition",
    [
        "arguments.amount > 10 and arguments.amount < 5",
        "arguments.amount > 10 and arguments.amount <= 10",
        "arguments.amount > 10 and not arguments.amount > 3",
        "arguments.amount >= 10 and not arguments.amount >= 10",
        "arguments.amount == 5 and arguments.amount != 5",
        "arguments.to == 'a' and arguments.to == 'b'",
        "arguments.to in ['a', 'b'] and arguments.to in ['c']",
        "arguments.to == 'ab' and arguments.to startswith 'b'",
        "arguments.to == 'ab' and arguments.to matches '^[0-9]'",
        "arguments.to startswith 'a' and arguments.to startswith 'b'",
        "arguments.to startswith 'ab' and not arguments.to startswith 'a'",
        "arguments.to endswith 'x' and arguments.to endswith 'y'",
        "arguments.to == null and arguments.to == 'x'",
        "arguments.flag and not arguments.flag and arguments.flag != null",
        "count(arguments.ids) > 3 and count(arguments.ids) < 4",
        "cost < 0",
        "hour > 23",
        "hour > 5 and hour < 6",
        "maturity < 'student'",
        "complexity >= 3 and complexity < 3",
        "action == 'delete'",
        "agent == 'clerk' and agent == 'helper'",
        "(arguments.a > 5 or arguments.b > 5) and arguments.a < 1 and arguments.b < 1",
        "not (arguments.a > 5 or not arguments.a > 5)",
        "arguments.a == arguments.b and arguments.a != arguments.b",
    ],
)
def test_a_condition_that_contradicts_itself_is_refused(condition: str) -> None:
    assert "contradicts itself" in problems(when(condition))[0][3]


@pytest.mark.parametrize(
    "condition",
    [
        "arguments.amount > 5 and arguments.amount < 10",
        "arguments.amount >= 5 and arguments.amount <= 5",
        "not arguments.amount > 5 and not arguments.amount <= 5",
        "not arguments.amount < 5 and arguments.amount <= 5",
        "not arguments.amount > 5 and arguments.amount >= 5",
        "arguments.amount > 10 or arguments.amount < 5",
        "arguments.a > 10 and arguments.b < 5",
        "arguments.to startswith 'a' and arguments.to startswith 'ab'",
        "arguments.to startswith 'a' and not arguments.to startswith 'ab'",
        "arguments.to in ['a', 'b'] and arguments.to != 'a'",
        "arguments.flag and not arguments.other",
        "not arguments.flag and arguments.flag != null",
        "arguments.x == null or arguments.x == 'a'",
        "count(arguments.ids) > 3 and count(arguments.ids) != 4",
        "/amount > 5 and arguments['amount'] < 10",
        "arguments.tags contains 'a' and not arguments.tags contains 'b'",
        "'x' in arguments.tags",
        "maturity >= 'intern' and maturity < 'autonomous'",
        "500 < arguments.amount",
    ],
)
def test_a_condition_that_can_hold_is_not_refused(condition: str) -> None:
    check_policy(when(condition), slugs=SLUGS)


DENY = "name: deny, actions: [delete], decision: deny"


@pytest.mark.parametrize(
    ("given", "shadowed"),
    [
        ((DENY, "name: b, actions: [delete], decision: allow"), "b"),
        (("name: b, actions: [delete], decision: allow", DENY), "b"),
        ((DENY, "name: b, actions: [Delete], decision: deny"), "b"),
        ((DENY, "name: b, actions: [delete], decision: allow, agents: [clerk]"), "b"),
        ((DENY, "name: b, actions: [delete], decision: allow, when: arguments.id == 5"), "b"),
        (("name: all, actions: ['*'], decision: deny", "name: b, actions: ['x_*'], decision: allow"), "b"),
        (
            ("name: b, actions: [delete], decision: deny, priority: 2", "name: c, actions: [delete], decision: allow"),
            "b",
        ),
        (
            (
                "name: a, actions: [pay], decision: deny, when: arguments.amount > 5",
                "name: b, actions: [pay], decision: ask, when: arguments.amount > 10",
            ),
            "b",
        ),
        (
            (
                "name: a, actions: [pay], decision: deny, when: arguments.amount > 5",
                "name: c, actions: [pay], decision: deny, when: not arguments.amount > 5",
                "name: b, actions: [pay], decision: ask",
            ),
            "b",
        ),
        (("name: a, actions: [pay], decision: ask, quorum: 2", "name: b, actions: [pay], decision: ask"), "b"),
    ],
)
def test_a_shadowed_rule_is_refused(given: tuple[str, ...], shadowed: str) -> None:
    found = problems(rules(*given))
    assert len(found) == 1
    assert found[0][3].startswith(f"The rule '{shadowed}' can never match")
    assert found[0][0] == 3 + [f"name: {shadowed}," in line for line in given].index(True)


@pytest.mark.parametrize(
    "given",
    [
        (DENY, "name: b, actions: [delete, pay], decision: allow"),
        (DENY, "name: b, actions: [delete], decision: allow, priority: -1, when: arguments.id == 5"),
        ("name: a, actions: [pay], decision: deny, agents: [clerk]", "name: b, actions: [pay], decision: allow"),
        (
            "name: a, actions: [pay], decision: deny, when: arguments.amount > 10",
            "name: b, actions: [pay], decision: ask, when: arguments.amount > 5",
        ),
        (
            # Without an amount neither of the first two matches.
            "name: a, actions: [pay], decision: deny, when: arguments.amount > 5",
            "name: c, actions: [pay], decision: deny, when: arguments.amount <= 5",
            "name: b, actions: [pay], decision: ask",
        ),
        (
            "name: a, actions: [pay], decision: ask, quorum: 2",
            "name: b, actions: [pay], decision: ask, four_eyes: true",
        ),
    ],
)
def test_a_rule_that_gets_its_turn_is_not_refused(given: tuple[str, ...]) -> None:
    check_policy(rules(*given), slugs=SLUGS)


def test_an_example_that_comes_out_otherwise_is_refused_with_its_place() -> None:
    example = (
        "examples: {deny: [{arguments: {amount: 900}}, {arguments: {amount: 500}}], allow: [{arguments: {amount: 5}}]}"
    )
    found = problems(rules(f"name: big, actions: [transfer], decision: deny, when: arguments.amount > 500, {example}"))
    assert [(path, message) for _, _, path, message in found] == [
        ("rules[0].examples.deny[1]", "This example should be 'deny', but the matrix says 'allow'.")
    ]


def test_an_example_is_judged_by_all_rules_and_then_the_matrix() -> None:
    check_policy(
        rules(
            "name: a, actions: [delete], decision: allow, agents: [clerk], examples: {allow: [{agent: clerk}],"
            " deny: [{agent: helper, maturity: student}], ask: [{agent: helper, maturity: intern}]}"
        ),
        slugs=SLUGS,
    )


def test_an_example_that_cannot_be_judged_is_refused() -> None:
    example = "examples: {deny: [{arguments: {amount: '900'}}]}"
    found = problems(rules(f"name: big, actions: [transfer], decision: deny, when: arguments.amount > 500, {example}"))
    assert "cannot be judged: arguments.amount is a text, and is compared with a number" in found[0][3]


CEDAR = "version: 1\nlanguage: cedar\npolicy: |\n"


@pytest.mark.parametrize(
    ("policy", "line", "column", "words"),
    [
        ("  permit(principal,\n    action resource);", 5, 12, "unexpected token `resource`"),
        ("  permit(principal, action, resource)", 4, 38, "unexpected end of input"),
        ('  permit(principal == User::"a", action, resource);', 3, 9, "no entity type User"),
        ('  permit(principal == Agent::"nobody", action, resource);', 3, 9, "no agent 'nobody'"),
        ('  permit(principal, action == Action::"Delete", resource);', 3, 9, 'write Action::"delete"'),
        ("  permit(principal, action, resource) when { context.foo == 1 };", 3, 9, "no context.foo"),
        ('  @decision("ask")\n  forbid(principal, action, resource);', 3, 9, "a forbid denies"),
        ('  @decision("maybe")\n  permit(principal, action, resource);', 3, 9, 'is "allow"'),
        ('  @quorum("2")\n  permit(principal, action, resource);', 3, 9, "only a policy that asks"),
        ('  @quorums("2")\n  permit(principal, action, resource);', 3, 9, "no annotation @quorums"),
        ("  // nothing", 3, 9, "has no policy"),
    ],
)
def test_cedar_is_refused_with_the_place_too(policy: str, line: int, column: int, words: str) -> None:
    found = problems(CEDAR + policy)
    assert words in found[0][3]
    assert found[0][:2] == (line, column)
