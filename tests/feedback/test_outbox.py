"""What leaves Atom: files, webhooks, the digest."""

import csv
import hashlib
import hmac
import io
import json
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import httpx
import pytest
from django.core import mail
from django.utils import timezone
from pytest_django import Settings
from rest_framework.test import APIClient

from agents.models import Agent, Message
from atom.ground.models import AuditEntry
from atom.ground.principal import Principal
from feedback import digest, exports
from feedback.models import Digest, Feedback, FeedbackDay, Webhook, WebhookDelivery
from feedback.services import giving, judging
from feedback.tasks import aggregate_feedback, deliver_webhooks, send_digests
from feedback.webhooks.sending import BACK_OFF_S

API = Callable[..., APIClient]
MakeAnswer = Callable[..., Message]


class Receiver(ThreadingHTTPServer):
    """A real server on loopback that takes deliveries, and answers with `status`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status = 200
        self.seen: list[tuple[dict[str, str], bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook"


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.seen.append(({name.lower(): value for name, value in self.headers.items()}, body))
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        thread = Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def hook(api: API, alice: Principal, receiver: Receiver) -> dict[str, Any]:
    made = api(alice).post("/api/feedback/webhooks/", {"url": receiver.url}, format="json")
    assert made.status_code == 201
    found: dict[str, Any] = made.json()
    return found


def due_again() -> None:
    WebhookDelivery.objects.update(next_attempt_at=timezone.now() - timedelta(seconds=1))


def test_feedback_is_told_signed_with_the_secret_and_a_time(
    carol: Principal, make_answer: MakeAnswer, receiver: Receiver, hook: dict[str, Any]
) -> None:
    given = giving.give_feedback(principal=carol, message_id=make_answer().id, thumb="up")
    assert deliver_webhooks() == 1
    [(headers, body)] = receiver.seen
    at, mac = (part.partition("=")[2] for part in headers["x-atom-signature"].split(","))
    expected = hmac.new(hook["secret"].encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    assert mac == expected
    assert abs(time.time() - int(at)) < 60
    told = json.loads(body)
    assert (told["event"], told["feedback"]["id"], told["feedback"]["thumb"]) == ("feedback.given", str(given.id), "up")
    assert WebhookDelivery.objects.get().status == "delivered"
    assert deliver_webhooks() == 0


def test_the_secret_is_shown_once_and_lies_sealed(api: API, alice: Principal, hook: dict[str, Any]) -> None:
    shown = api(alice).get("/api/feedback/webhooks/").json()["results"]
    assert "secret" not in shown[0]
    assert hook["secret"].encode() not in bytes(Webhook.objects.get().secret)
    assert hook["secret"] not in "".join(AuditEntry.objects.values_list("entry", flat=True))


def test_a_refused_delivery_is_tried_again_later_and_at_last_given_up(
    carol: Principal, make_answer: MakeAnswer, receiver: Receiver, hook: dict[str, Any]
) -> None:
    receiver.status = 500
    giving.give_feedback(principal=carol, message_id=make_answer().id, thumb="up")
    assert deliver_webhooks() == 1
    waits = WebhookDelivery.objects.get()
    assert (waits.status, waits.http_status, waits.attempts) == ("waiting", 500, 1)
    assert waits.next_attempt_at > timezone.now() + timedelta(seconds=BACK_OFF_S[0] - 5)
    assert deliver_webhooks() == 0
    for _ in range(len(BACK_OFF_S)):
        due_again()
        deliver_webhooks()
    over = WebhookDelivery.objects.get()
    assert (over.status, over.attempts) == ("failed", len(BACK_OFF_S) + 1)
    assert {headers["x-atom-delivery"] for headers, _ in receiver.seen} == {str(over.id)}


def test_a_receiver_that_comes_back_gets_what_it_missed(
    carol: Principal, make_answer: MakeAnswer, receiver: Receiver, hook: dict[str, Any]
) -> None:
    Webhook.objects.update(url="http://127.0.0.1:9/hook")
    giving.give_feedback(principal=carol, message_id=make_answer().id, thumb="up")
    deliver_webhooks()
    assert WebhookDelivery.objects.get().problem == "The address could not be reached."
    Webhook.objects.update(url=receiver.url)
    due_again()
    deliver_webhooks()
    assert WebhookDelivery.objects.get().status == "delivered"


def test_a_delivery_is_replayed_with_the_same_body(
    api: API, alice: Principal, carol: Principal, make_answer: MakeAnswer, receiver: Receiver, hook: dict[str, Any]
) -> None:
    giving.give_feedback(principal=carol, message_id=make_answer().id, thumb="up")
    deliver_webhooks()
    first = WebhookDelivery.objects.get()
    assert api(alice).post(f"/api/feedback/webhooks/deliveries/{first.id}/replay/").status_code == 201
    deliver_webhooks()
    assert [body for _, body in receiver.seen] == [receiver.seen[0][1]] * 2
    log = api(alice).get(f"/api/feedback/webhooks/{hook['id']}/deliveries/?status=delivered").json()["results"]
    assert len(log) == 2


def test_a_webhook_hears_the_events_it_asked_for(
    api: API, alice: Principal, bob: Principal, carol: Principal, make_answer: MakeAnswer, receiver: Receiver
) -> None:
    body = {"url": receiver.url, "events": ["feedback.accepted", "feedback.withdrawn"]}
    assert api(alice).post("/api/feedback/webhooks/", body, format="json").status_code == 201
    given = giving.give_feedback(principal=carol, message_id=make_answer().id, correction="better")
    judging.adjudicate(feedback=given, principal=bob, decision="accept")
    giving.withdraw_feedback(feedback=given, principal=carol)
    events = WebhookDelivery.objects.order_by("created_at").values_list("event", flat=True)
    assert list(events) == ["feedback.accepted", "feedback.withdrawn"]


@pytest.mark.parametrize(
    "url", ["http://169.254.169.254/", "http://localhost/", "http://10.0.0.1/", "ftp://example.com/", "nonsense", ""]
)
def test_a_webhook_may_not_point_into_our_own_network(api: API, alice: Principal, url: str) -> None:
    assert api(alice).post("/api/feedback/webhooks/", {"url": url}, format="json").status_code == 400
    assert not Webhook.objects.exists()


def test_mallory_and_members_touch_no_webhook_and_no_digest_of_alices(
    api: API,
    carol: Principal,
    mallory: Principal,
    make_answer: MakeAnswer,
    hook: dict[str, Any],
) -> None:
    giving.give_feedback(principal=carol, message_id=make_answer().id, thumb="up")
    delivery = WebhookDelivery.objects.get().id
    paths = (f"webhooks/{hook['id']}/deliveries/", f"webhooks/deliveries/{delivery}/replay/", f"webhooks/{hook['id']}/")
    for person, status in ((mallory, 404), (carol, 403)):
        client = api(person)
        assert client.get(f"/api/feedback/{paths[0]}").status_code == status
        assert client.post(f"/api/feedback/{paths[1]}").status_code == status
        assert client.delete(f"/api/feedback/{paths[2]}").status_code == status
    assert api(mallory).get("/api/feedback/webhooks/").json()["results"] == []
    assert api(carol).put("/api/feedback/digest/", {"frequency": "off"}, format="json").status_code == 403


# --- Files ---


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


# --- The digest ---


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
