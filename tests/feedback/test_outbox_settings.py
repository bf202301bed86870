"""Webhooks and the digest are set up by owners, by program and in the admin: made, changed, switched off, deleted."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from rest_framework.test import APIClient

from agents.models import Message
from atom.ground.models import AuditEntry, User
from atom.ground.principal import Principal
from feedback.models import Digest, Webhook, WebhookDelivery
from feedback.services import giving
from feedback.tasks import deliver_webhooks
from feedback.webhooks.sending import signature
from feedback.webhooks.services import create_webhook
from tests.simulators.receiver import Receiver

API = Callable[..., APIClient]
MakeAnswer = Callable[..., Message]
HOOKS = "/admin/feedback/webhook/"
DIGEST = "/admin/feedback/digest/"
# Of nobody; no test sends there.
ELSEWHERE = "https://93.184.215.14/hook"


def signed_in(principal: Principal) -> Client:
    client = Client()
    client.force_login(User.objects.get(pk=principal.user_id))
    return client


def shown_secret(page: str) -> str:
    found = re.search(r'<code id="secret">(whsec_[0-9a-f]{64})</code>', page)
    assert found is not None
    return found[1]


def is_signed(receiver: Receiver, secret: str) -> bool:
    """Whether the last delivery was signed with this secret."""
    headers, body = receiver.seen[-1]
    at = int(headers["x-atom-signature"].split(",")[0].removeprefix("t="))
    return signature(secret, at, body.decode()) == headers["x-atom-signature"]


def events() -> list[str]:
    found = AuditEntry.objects.filter(event__startswith="feedback.webhook").order_by("seq")
    return [event.removeprefix("feedback.webhook_") for event in found.values_list("event", flat=True)]


# --- By program ---


def test_a_webhook_that_is_switched_off_is_told_nothing_until_it_is_on_again(
    api: API, alice: Principal, carol: Principal, make_answer: MakeAnswer, receiver: Receiver, hook: dict[str, Any]
) -> None:
    path = f"/api/feedback/webhooks/{hook['id']}/"
    giving.give_feedback(principal=carol, message_id=make_answer().id, thumb="up")
    assert api(alice).patch(path, {"is_active": False}, format="json").json()["is_active"] is False
    giving.give_feedback(principal=carol, message_id=make_answer().id, thumb="down")
    assert (deliver_webhooks(), receiver.seen) == (0, [])
    assert api(alice).patch(path, {"is_active": True}, format="json").status_code == 200
    # What waited is sent; what happened meanwhile is not.
    assert deliver_webhooks() == 1
    assert json.loads(receiver.seen[0][1])["feedback"]["thumb"] == "up"
    assert events() == ["created", "changed", "changed"]


def test_what_is_not_named_stays_and_the_same_again_leaves_no_entry(
    api: API, alice: Principal, receiver: Receiver, hook: dict[str, Any]
) -> None:
    path = f"/api/feedback/webhooks/{hook['id']}/"
    wanted = {"events": ["feedback.withdrawn", "feedback.given"]}
    for _ in range(2):
        changed = api(alice).patch(path, wanted, format="json").json()
        assert (changed["url"], changed["events"]) == (receiver.url, ["feedback.given", "feedback.withdrawn"])
    assert api(alice).get(path).json() == changed
    assert events() == ["created", "changed"]


@pytest.mark.parametrize(
    "wrong", [{"url": "http://169.254.169.254/"}, {"url": ""}, {"events": ["feedback.sung"]}, {"is_active": "maybe"}]
)
def test_a_change_to_nonsense_is_refused_and_nothing_moves(
    api: API, alice: Principal, receiver: Receiver, hook: dict[str, Any], wrong: dict[str, Any]
) -> None:
    path = f"/api/feedback/webhooks/{hook['id']}/"
    body = {"is_active": False, **wrong}
    assert api(alice).patch(path, body, format="json").status_code == 400
    kept = Webhook.objects.get()
    assert (kept.url, kept.events, kept.is_active) == (receiver.url, [], True)


def test_a_new_secret_signs_from_now_on(
    api: API, alice: Principal, carol: Principal, make_answer: MakeAnswer, receiver: Receiver, hook: dict[str, Any]
) -> None:
    giving.give_feedback(principal=carol, message_id=make_answer().id, thumb="up")
    made = api(alice).post(f"/api/feedback/webhooks/{hook['id']}/rotate/").json()
    assert made["secret"] != hook["secret"]
    deliver_webhooks()
    assert is_signed(receiver, made["secret"])
    assert not is_signed(receiver, hook["secret"])
    assert made["secret"] not in "".join(AuditEntry.objects.values_list("entry", flat=True))
    assert events() == ["created", "secret_rotated"]


def test_mallory_and_members_change_no_webhook_of_alices(
    api: API, bob: Principal, carol: Principal, mallory: Principal, hook: dict[str, Any]
) -> None:
    before = Webhook.objects.values().get()
    path = f"/api/feedback/webhooks/{hook['id']}/"
    for person, status in ((mallory, 404), (carol, 403), (bob, 403)):
        client = api(person)
        assert client.get(path).status_code == status
        assert client.patch(path, {"is_active": False}, format="json").status_code == status
        assert client.post(f"{path}rotate/").status_code == status
    assert Webhook.objects.values().get() == before


# --- In the admin ---


def test_a_webhook_made_in_the_admin_shows_its_secret_once_and_signs_with_it(
    alice: Principal, carol: Principal, make_answer: MakeAnswer, receiver: Receiver
) -> None:
    client = signed_in(alice)
    answer = client.post(f"{HOOKS}add/", {"url": receiver.url, "events": ["feedback.given"]})
    secret = shown_secret(answer.text)
    assert "no-store" in answer["Cache-Control"]
    made = Webhook.objects.get()
    assert (made.url, made.events, made.workspace_id) == (receiver.url, ["feedback.given"], alice.workspace_id)
    for page in (HOOKS, f"{HOOKS}{made.pk}/change/"):
        assert secret not in client.get(page).text
    giving.give_feedback(principal=carol, message_id=make_answer().id, thumb="up")
    deliver_webhooks()
    assert is_signed(receiver, secret)


def test_an_address_in_our_own_network_is_an_error_on_the_form(alice: Principal) -> None:
    answer = signed_in(alice).post(f"{HOOKS}add/", {"url": "http://169.254.169.254/"})
    assert answer.status_code == 200
    assert "http://169.254.169.254/" in answer.text
    assert "url" in answer.context["adminform"].form.errors
    assert not Webhook.objects.exists()


def test_a_webhook_is_edited_and_switched_off_in_the_admin(alice: Principal, hook: dict[str, Any]) -> None:
    client = signed_in(alice)
    page = f"{HOOKS}{hook['id']}/change/"
    assert client.post(page, {"url": ELSEWHERE, "events": ["feedback.split"]}).status_code == 302
    kept = Webhook.objects.get()
    assert (kept.url, kept.events, kept.is_active) == (ELSEWHERE, ["feedback.split"], False)
    assert events() == ["created", "changed"]


def test_a_new_secret_is_made_after_a_question_and_shown_once(alice: Principal, hook: dict[str, Any]) -> None:
    client = signed_in(alice)
    before = bytes(Webhook.objects.get().secret)
    page = f"{HOOKS}{hook['id']}/rotate/"
    assert client.get(page).status_code == 200
    assert bytes(Webhook.objects.get().secret) == before
    assert shown_secret(client.post(page).text) != hook["secret"]
    assert bytes(Webhook.objects.get().secret) != before


def test_a_webhook_is_deleted_in_the_admin_and_the_trail_says_so(alice: Principal, hook: dict[str, Any]) -> None:
    assert signed_in(alice).post(f"{HOOKS}{hook['id']}/delete/", {"post": "yes"}).status_code == 302
    assert not Webhook.objects.exists()
    assert events() == ["created", "deleted"]


def test_the_list_says_how_a_webhooks_deliveries_went_and_leads_to_them(
    alice: Principal, carol: Principal, make_answer: MakeAnswer, receiver: Receiver, hook: dict[str, Any]
) -> None:
    create_webhook(principal=alice, url=ELSEWHERE, events=["feedback.split"])
    for _ in range(3):
        giving.give_feedback(principal=carol, message_id=make_answer().id, thumb="up")
    WebhookDelivery.objects.filter(pk=WebhookDelivery.objects.earliest("created_at").pk).update(status="failed")
    client = signed_in(alice)
    page = client.get(HOOKS).text
    found = re.search(r'href="([^"]*webhook__id__exact=[^"]*)">3</a> \(2 waiting, 1 failed\)', page)
    assert found is not None
    assert client.get(found[1]).context["cl"].result_count == 3
    other = Webhook.objects.get(url=ELSEWHERE)
    assert client.get(found[1].replace(hook["id"], str(other.pk))).context["cl"].result_count == 0


def test_the_digest_is_turned_on_in_the_admin(alice: Principal) -> None:
    client = signed_in(alice)
    page = client.get(DIGEST).text
    assert "No mail is sent yet" in page
    wanted = {"frequency": "weekly", "recipients": "b@example.com\na@example.com\n"}
    assert client.post(DIGEST, wanted).status_code == 302
    kept = Digest.objects.get()
    assert (kept.workspace_id, kept.frequency) == (alice.workspace_id, "weekly")
    assert kept.recipients == ["a@example.com", "b@example.com"]
    assert "a@example.com\nb@example.com" in client.get(DIGEST).text
    assert AuditEntry.objects.filter(event="feedback.digest_set").count() == 1


@pytest.mark.parametrize("recipients", ["", "nobody"], ids=["nobody", "no address"])
def test_a_digest_for_nobody_is_an_error_on_the_form(alice: Principal, recipients: str) -> None:
    answer = signed_in(alice).post(DIGEST, {"frequency": "daily", "recipients": recipients})
    assert answer.status_code == 200
    assert "recipients" in answer.context["form"].errors
    assert not Digest.objects.exists()


def test_members_and_approvers_have_neither_page(bob: Principal, carol: Principal, hook: dict[str, Any]) -> None:
    for person in (bob, carol):
        client = signed_in(person)
        for page in (HOOKS, f"{HOOKS}add/", f"{HOOKS}{hook['id']}/change/", f"{HOOKS}{hook['id']}/rotate/", DIGEST):
            assert client.get(page).status_code == 403, page
        client.post(f"{HOOKS}add/", {"url": ELSEWHERE})
        client.post(DIGEST, {"frequency": "daily", "recipients": "carol@example.com"})
    assert Webhook.objects.count() == 1
    assert not Digest.objects.exists()


def test_mallory_sees_and_touches_neither_webhook_nor_digest_of_alices(
    alice: Principal, mallory: Principal, hook: dict[str, Any]
) -> None:
    signed_in(alice).post(DIGEST, {"frequency": "daily", "recipients": "owner@example.com"})
    before = Webhook.objects.values().get()
    client = signed_in(mallory)
    assert hook["url"] not in client.get(HOOKS).text
    assert "owner@example.com" not in client.get(DIGEST).text
    row = f"{HOOKS}{hook['id']}/"
    for verb, body in (
        ("change/", {"url": ELSEWHERE}),
        ("delete/", {"post": "yes"}),
        ("rotate/", {}),
    ):
        for answer in (client.get(f"{row}{verb}", follow=True), client.post(f"{row}{verb}", body, follow=True)):
            assert hook["url"] not in answer.text
            assert "whsec_" not in answer.text
    client.post(DIGEST, {"frequency": "off"})
    assert Webhook.objects.values().get() == before
    assert Digest.objects.get(workspace_id=alice.workspace_id).recipients == ["owner@example.com"]
