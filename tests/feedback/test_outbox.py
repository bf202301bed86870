"""Webhooks: what is sent, signed, to whom, and what happens when nobody takes it."""

import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from celery.signals import after_task_publish
from django.utils import timezone
from rest_framework.test import APIClient

from agents.models import Message
from atom.celery import app
from atom.ground.models import AuditEntry
from atom.ground.principal import Principal
from feedback.models import Webhook, WebhookDelivery
from feedback.services import giving, judging
from feedback.tasks import deliver_webhooks
from feedback.webhooks import sending
from feedback.webhooks.sending import BACK_OFF_S
from tests.governance.conftest import use_broker
from tests.simulators.receiver import Receiver

API = Callable[..., APIClient]
MakeAnswer = Callable[..., Message]


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


def test_a_refused_delivery_is_tried_again_later_and_later_and_at_last_given_up(
    carol: Principal, make_answer: MakeAnswer, receiver: Receiver, hook: dict[str, Any]
) -> None:
    receiver.status = 500
    giving.give_feedback(principal=carol, message_id=make_answer().id, thumb="up")
    for attempts, wait_s in enumerate(BACK_OFF_S, start=1):
        before = timezone.now()
        assert deliver_webhooks() == 1
        waits = WebhookDelivery.objects.get()
        assert (waits.status, waits.http_status, waits.attempts) == ("waiting", 500, attempts)
        assert before <= waits.next_attempt_at - timedelta(seconds=wait_s) <= timezone.now()
        assert deliver_webhooks() == 0
        due_again()
    deliver_webhooks()
    over = WebhookDelivery.objects.get()
    assert (over.status, over.attempts) == ("failed", len(BACK_OFF_S) + 1)
    assert {headers["x-atom-delivery"] for headers, _ in receiver.seen} == {str(over.id)}


def test_a_redirect_is_no_delivery(
    carol: Principal, make_answer: MakeAnswer, receiver: Receiver, hook: dict[str, Any]
) -> None:
    receiver.status = 307
    giving.give_feedback(principal=carol, message_id=make_answer().id, thumb="up")
    deliver_webhooks()
    waits = WebhookDelivery.objects.get()
    assert (waits.status, waits.problem) == ("waiting", "The address answered with status 307.")


def test_two_workers_that_see_one_delivery_send_it_once(
    carol: Principal, make_answer: MakeAnswer, receiver: Receiver, hook: dict[str, Any]
) -> None:
    receiver.status = 500
    giving.give_feedback(principal=carol, message_id=make_answer().id, thumb="up")
    # Both have read the row before either takes it.
    one, other = WebhookDelivery.objects.select_related("webhook").get(), WebhookDelivery.objects.get()
    assert (sending.attempt(one), sending.attempt(other)) == (True, False)
    assert len(receiver.seen) == 1
    assert WebhookDelivery.objects.get().attempts == 1


def test_what_has_waited_longest_is_sent_first(
    carol: Principal, make_answer: MakeAnswer, receiver: Receiver, hook: dict[str, Any]
) -> None:
    for thumb in ("up", "down"):
        giving.give_feedback(principal=carol, message_id=make_answer().id, thumb=thumb)
    last = WebhookDelivery.objects.latest("created_at")
    WebhookDelivery.objects.filter(pk=last.pk).update(next_attempt_at=timezone.now() - timedelta(hours=1))
    deliver_webhooks()
    assert [json.loads(body)["feedback"]["thumb"] for _, body in receiver.seen] == ["down", "up"]


@pytest.fixture
def queued(store_url: str) -> Iterator[list[str | None]]:
    """The names of the tasks that are given to a broker which is there."""
    names: list[str | None] = []

    def note(sender: str | None = None, **_: Any) -> None:
        names.append(sender)

    before = app.conf.broker_url
    use_broker(store_url)
    after_task_publish.connect(note)
    yield names
    after_task_publish.disconnect(note)
    use_broker(before)


@pytest.mark.usefixtures("hook")
def test_sums_and_deliveries_are_asked_for_once_it_is_committed(
    carol: Principal,
    make_answer: MakeAnswer,
    queued: list[str | None],
    django_capture_on_commit_callbacks: Callable[..., Any],
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        giving.give_feedback(principal=carol, message_id=make_answer().id, thumb="up")
        assert queued == []
    assert {"feedback.tasks.aggregate_feedback", "feedback.tasks.deliver_webhooks"} <= set(queued)


def test_a_workspace_has_ten_webhooks_and_no_more(api: API, alice: Principal, receiver: Receiver) -> None:
    statuses = [
        api(alice).post("/api/feedback/webhooks/", {"url": receiver.url}, format="json").status_code for _ in range(11)
    ]
    assert statuses == [201] * 10 + [400]
    assert Webhook.objects.count() == 10


def test_mallorys_webhook_hears_nothing_of_alices(
    api: API, mallory: Principal, carol: Principal, make_answer: MakeAnswer, receiver: Receiver
) -> None:
    assert api(mallory).post("/api/feedback/webhooks/", {"url": receiver.url}, format="json").status_code == 201
    giving.give_feedback(principal=carol, message_id=make_answer().id, thumb="up")
    assert not WebhookDelivery.objects.exists()


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
