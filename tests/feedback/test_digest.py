"""The figures by e-mail: off until wanted, each period told once."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core import mail
from django.utils import timezone
from pytest_django import Settings
from rest_framework.test import APIClient

from agents.models import Message
from atom.ground.models import Workspace
from atom.ground.principal import Principal
from feedback import digest
from feedback.models import Digest, FeedbackDay
from feedback.services import giving
from feedback.tasks import aggregate_feedback, send_digests

API = Callable[..., APIClient]
MakeAnswer = Callable[..., Message]


@pytest.fixture
def yesterday(carol: Principal, make_answer: MakeAnswer) -> None:
    """One thumb up and one down, said yesterday."""
    for thumb in ("up", "down"):
        giving.give_feedback(principal=carol, message_id=make_answer().id, thumb=thumb)
    aggregate_feedback()
    FeedbackDay.objects.update(day=timezone.now().date() - timedelta(days=1))


def test_the_digest_is_off_until_somebody_wants_it(api: API, alice: Principal, yesterday: None) -> None:
    assert api(alice).get("/api/feedback/digest/").json()["frequency"] == "off"
    assert send_digests() == 0
    assert mail.outbox == []


def test_the_digest_tells_the_day_once(api: API, alice: Principal, yesterday: None, settings: Settings) -> None:
    settings.ATOM_EMAIL_FROM = "atom@example.com"
    body = {"frequency": "daily", "recipients": ["owner@example.com"]}
    assert api(alice).put("/api/feedback/digest/", body, format="json").status_code == 200
    assert send_digests() == 0
    Digest.objects.update(sent_for=timezone.now().date() - timedelta(days=2))
    assert send_digests() == 1
    assert send_digests() == 0
    [letter] = mail.outbox
    assert letter.to == ["owner@example.com"]
    assert "2 in all: 1 positive, 0 neutral, 1 negative" in letter.body
    assert "- helper: 2, 1 positive, 1 negative" in letter.body


def test_a_weekly_digest_waits_for_its_week(alice: Principal, yesterday: None, settings: Settings) -> None:
    settings.ATOM_EMAIL_FROM = "atom@example.com"
    digest.set_digest(principal=alice, frequency="weekly", recipients=["owner@example.com"])
    Digest.objects.update(sent_for=timezone.now().date() - timedelta(days=7))
    assert send_digests() == 0
    Digest.objects.update(sent_for=timezone.now().date() - timedelta(days=8))
    assert send_digests() == 1


def test_a_digest_that_could_not_be_sent_is_sent_later(alice: Principal, yesterday: None, settings: Settings) -> None:
    settings.ATOM_EMAIL_FROM = "atom@example.com"
    digest.set_digest(principal=alice, frequency="daily", recipients=["owner@example.com"])
    before = timezone.now().date() - timedelta(days=2)
    Digest.objects.update(sent_for=before)
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 9
    assert send_digests() == 0
    assert Digest.objects.get().sent_for == before


@pytest.mark.parametrize(
    "body",
    [
        {"frequency": "hourly"},
        {"frequency": "daily", "recipients": []},
        {"frequency": "daily", "recipients": ["nobody"]},
        {"frequency": "daily", "recipients": ["a@example.com\nBcc: b@example.com"]},
        {"frequency": "daily", "recipients": [f"{number}@example.com" for number in range(21)]},
    ],
    ids=["often", "nobody", "no address", "header", "too many"],
)
def test_a_digest_for_nobody_is_refused(api: API, alice: Principal, body: dict[str, Any]) -> None:
    assert api(alice).put("/api/feedback/digest/", body, format="json").status_code == 400
    assert not Digest.objects.exists()


def test_a_digest_is_about_its_own_days_and_workspace(
    alice: Principal, mallory: Principal, carol: Principal, make_answer: MakeAnswer
) -> None:
    today = timezone.now().date()
    giving.give_feedback(principal=carol, message_id=make_answer().id, thumb="up")
    aggregate_feedback()
    day = FeedbackDay.objects.get()
    for days_ago in (1, 2, 7, 8):
        day.pk, day.day = None, today - timedelta(days=days_ago)
        day.save(force_insert=True)
    yesterday = today - timedelta(days=1)
    for since, total in ((yesterday, 1), (today - timedelta(days=7), 3)):
        _, text = digest.written(alice.workspace_id, "Alice's", since, yesterday)
        assert f"{total} in all: {total} positive" in text
        assert f"- helper: {total}" in text
        _, hers = digest.written(mallory.workspace_id, "Mallory's", since, yesterday)
        assert "helper" not in hers


@pytest.mark.parametrize(("frequency", "days"), [("daily", 1), ("weekly", 7)])
def test_the_letter_names_the_whole_period_and_no_header_of_its_own(
    alice: Principal, yesterday: None, settings: Settings, frequency: str, days: int
) -> None:
    settings.ATOM_EMAIL_FROM = "atom@example.com"
    Workspace.objects.filter(pk=alice.workspace_id).update(name="Alice\nBcc: mallory@example.com")
    digest.set_digest(principal=alice, frequency=frequency, recipients=["owner@example.com"])
    until = timezone.now().date() - timedelta(days=1)
    Digest.objects.update(sent_for=until - timedelta(days=days))
    assert send_digests() == 1
    first = until - timedelta(days=days - 1)
    period = f"{until}" if days == 1 else f"{first} to {until}"
    assert mail.outbox[0].subject == f"Feedback in Alice Bcc: mallory@example.com, {period}"
