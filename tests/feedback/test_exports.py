"""Feedback as files: CSV and JSON, complete and harmless; corrections as examples."""

import csv
import io
import json
from collections.abc import Callable
from uuid import UUID

import httpx
import pytest
from django.utils import timezone

from agents import variants
from agents.models import Agent, Message, Run
from agents.runs.records import add_message
from agents.services import update_agent
from atom.ground.principal import Principal
from feedback import exports
from feedback.experiments.services import create_experiment, start_experiment
from feedback.models import Feedback
from feedback.services import giving, judging
from llm.messages import Text, ToolCall, ToolResult
from tests.simulators.openai import OpenAISimulator

MakeAnswer = Callable[..., Message]


def get(server: str, token: str, path: str) -> httpx.Response:
    return httpx.get(f"{server}/api/feedback/{path}", headers={"Authorization": f"Bearer {token}"}, timeout=30)


@pytest.mark.django_db(transaction=True)
def test_exports_are_complete_and_safe_for_spreadsheets(
    server: str,
    carol: Principal,
    bob: Principal,
    token_of: Callable[[Principal], str],
    make_answer: MakeAnswer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Pages of three: eight rows meet two borders, and rows of one moment stand across them.
    monkeypatch.setattr(exports, "CHUNK", 3)
    nasty = ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "\uff1d1", 'plain, "quoted"\nline']
    answers = [make_answer() for _ in nasty]
    for answer, text in zip(answers, nasty, strict=True):
        given = giving.give_feedback(principal=carol, message_id=answer.id, comment="x", rating=4, category="tone")
        Feedback.objects.filter(pk=given.pk).update(comment=text, created_at=timezone.now().replace(microsecond=0))
    token = token_of(carol)
    sheet = get(server, token, "export/?format=csv")
    assert sheet.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(sheet.text, newline="")))
    assert len(rows) == len(nasty)
    assert {row["comment"].removeprefix("'") for row in rows} == set(nasty)
    assert not [cell for row in rows for cell in row.values() if cell.startswith(exports.FORMULA)]
    assert {row["rating"] for row in rows} == {"4"}
    listed = get(server, token, "export/?format=json&agent=helper").json()
    assert {row["id"] for row in listed} == {row["id"] for row in rows}
    assert get(server, token, "export/?format=json&category=none").json() == []
    for query, status in (("format=xml", 400), ("format=csv&agent=nobody", 404), ("agent=%00", 400)):
        assert get(server, token, f"export/?{query}").status_code == status


@pytest.mark.django_db(transaction=True)
def test_mallorys_export_has_nothing_of_alices(
    server: str,
    carol: Principal,
    mallory: Principal,
    token_of: Callable[[Principal], str],
    make_answer: MakeAnswer,
) -> None:
    giving.give_feedback(principal=carol, message_id=make_answer().id, correction="better")
    token = token_of(mallory)
    assert get(server, token, "export/?format=json").json() == []
    assert len(get(server, token, "export/?format=csv").text.splitlines()) == 1
    assert get(server, token, "dataset/").text == ""
    assert get(server, token, "export/?agent=helper").status_code == 404
    assert httpx.get(f"{server}/api/feedback/export/").status_code == 401


@pytest.mark.django_db(transaction=True)
def test_accepted_corrections_become_examples(
    server: str,
    bob: Principal,
    carol: Principal,
    token_of: Callable[[Principal], str],
    make_answer: MakeAnswer,
) -> None:
    kept, refused, pending = (
        giving.give_feedback(principal=carol, message_id=make_answer().id, correction=text)
        for text in ("good day", "go away", "hm")
    )
    judging.adjudicate(feedback=kept, principal=bob, decision="accept")
    judging.adjudicate(feedback=refused, principal=bob, decision="reject")
    assert pending.status == "pending"
    [line] = get(server, token_of(bob), "dataset/").text.splitlines()
    assert json.loads(line)["messages"] == [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "good day"},
    ]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("by_variant", [False, True])
def test_an_example_has_the_prompt_that_its_answer_was_made_with(
    server: str,
    alice: Principal,
    bob: Principal,
    token_of: Callable[[Principal], str],
    make_agent: Callable[..., Agent],
    openai_simulator: OpenAISimulator,
    by_variant: bool,
) -> None:
    """Not the one that the agent has by now."""
    agent = make_agent(system_prompt="Be short." if by_variant else "Be kind.")
    if by_variant:
        kind = {"system_prompt": "Be kind."}
        arms = [{"name": "cool", "temperature": 0.1, **kind}, {"name": "warm", "temperature": 0.9, **kind}]
        draft = create_experiment(principal=alice, agent=agent, name="Kindness", variants=arms, planned_per_arm=100)
        start_experiment(experiment=draft, principal=alice)
        # What runs is remembered for a moment, of the test before as well.
        variants._chooser.cache_clear()
    openai_simulator.will_say("hello")
    headers = {"Authorization": f"Bearer {token_of(bob)}"}
    ran = httpx.post(f"{server}/api/agents/helper/chat/", json={"message": "hi"}, headers=headers, timeout=30)
    assert ran.status_code == 200, ran.text
    update_agent(agent=agent, by="alice", system_prompt="Be rude.")
    given = giving.give_feedback(principal=bob, run_id=UUID(ran.json()["run_id"]), correction="good day")
    judging.adjudicate(feedback=given, principal=bob, decision="accept")
    [line] = get(server, token_of(bob), "dataset/").text.splitlines()
    assert json.loads(line)["messages"][0] == {"role": "system", "content": "Be kind."}


@pytest.mark.django_db(transaction=True)
def test_an_example_holds_the_conversation_until_the_corrected_answer_and_nothing_else(
    server: str, bob: Principal, token_of: Callable[[Principal], str], make_answer: MakeAnswer
) -> None:
    first = make_answer()
    run, other = first.run, make_answer().run
    assert run is not None
    assert other is not None
    add_message(run, Message.Role.USER, [Text("and in French?")])
    add_message(run, Message.Role.ASSISTANT, [ToolCall("c1", "look_up", "{}")])
    add_message(run, Message.Role.TOOL, [ToolResult("c1", "salut")])
    add_message(other, Message.Role.USER, [Text("somebody else's")])
    answer = add_message(run, Message.Role.ASSISTANT, [Text("hola")])
    add_message(run, Message.Role.USER, [Text("said later")])
    given = giving.give_feedback(principal=bob, message_id=answer.id, correction="salut")
    judging.adjudicate(feedback=given, principal=bob, decision="accept")
    [line] = get(server, token_of(bob), "dataset/").text.splitlines()
    told = [(message["role"], message["content"]) for message in json.loads(line)["messages"]]
    said = [("user", "hi"), ("assistant", "hello"), ("user", "and in French?"), ("assistant", "salut")]
    assert [each for each in told if each[0] != "system"] == said


@pytest.mark.django_db(transaction=True)
def test_the_correction_of_a_call_without_a_conversation_has_its_own_run_only(
    server: str, bob: Principal, token_of: Callable[[Principal], str], make_answer: MakeAnswer
) -> None:
    """A call on the wires of other clients has no session."""
    answers = [make_answer(), make_answer()]
    Message.objects.update(session=None)
    Run.objects.update(session=None)
    given = giving.give_feedback(principal=bob, message_id=answers[1].id, correction="good day")
    judging.adjudicate(feedback=given, principal=bob, decision="accept")
    [line] = get(server, token_of(bob), "dataset/").text.splitlines()
    assert [message["role"] for message in json.loads(line)["messages"]].count("user") == 1


@pytest.mark.django_db(transaction=True)
def test_a_row_of_the_files_says_all_that_is_known(
    server: str, carol: Principal, token_of: Callable[[Principal], str], make_answer: MakeAnswer
) -> None:
    answer = make_answer()
    Run.objects.update(provider="openai", model="gpt-4o", cost_usd="0.0123", time_to_first_token_s=0.25)
    giving.give_feedback(principal=carol, message_id=answer.id, thumb="down", rating=2, tags=["long", "rude"])
    [row] = get(server, token_of(carol), "export/?format=json").json()
    facts = {"agent": "helper", "user": "carol", "thumb": "down", "rating": 2, "sentiment": "negative"}
    facts |= {"provider": "openai", "model": "gpt-4o", "cost_usd": "0.012300000", "latency_ms": 250}
    assert {name: row[name] for name in facts} == facts
    [cells] = csv.DictReader(io.StringIO(get(server, token_of(carol), "export/?format=csv").text, newline=""))
    assert {name: cells[name] for name in facts} == {name: str(value) for name, value in facts.items()}
    assert (cells["tags"], cells["comment"]) == ("long rude", "")
