"""Feedback as files: CSV and JSON, complete and harmless; corrections as examples."""

import csv
import io
import json
from collections.abc import Callable

import httpx
import pytest
from django.utils import timezone

from agents.models import Agent, Message
from atom.ground.principal import Principal
from feedback import exports
from feedback.models import Feedback
from feedback.services import giving, judging

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
    Agent.objects.update(system_prompt="Be kind.")
    judging.adjudicate(feedback=kept, principal=bob, decision="accept")
    judging.adjudicate(feedback=refused, principal=bob, decision="reject")
    assert pending.status == "pending"
    [line] = get(server, token_of(bob), "dataset/").text.splitlines()
    assert json.loads(line)["messages"] == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "good day"},
    ]
