"""Edited questions, many decisions at once, rights given for a while, reminders, reviewers, long polls, the inbox."""

import json
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest
import redis
import time_machine
from django.core import mail
from django.utils import timezone
from pytest_django import Settings
from rest_framework.test import APIClient
from websockets.sync.client import connect

from agents.models import Agent
from atom.ground.models import AuditEntry, User
from atom.ground.principal import Principal
from governance.approvals import reminders
from governance.judging import judge_action
from governance.models import Approval, ApprovalDelegation, ApprovalRevision, ApprovalStatus
from tests.events import bearer
from tests.governance.conftest import action_of

Ask = Callable[..., Approval]
Api = Callable[[Principal | None], APIClient]
pytestmark = pytest.mark.usefixtures("store")


def events(name: str) -> int:
    return AuditEntry.objects.filter(event=name).count()


# --- Editing ------------------------------------------------------------------------------------------------
class TestEditing:
    def test_an_edit_is_a_new_revision_that_still_waits(self, ask: Ask, api: Api, bob: Principal) -> None:
        approval = ask()
        body = {"revision": 1, "arguments": {"id": 8}}
        edited = api(bob).post(f"/api/approvals/{approval.pk}/edit/", body, "json").json()
        assert (edited["status"], edited["revision"], edited["arguments"]) == ("pending", 2, {"id": 8})
        assert (edited["edited_by"], edited["digest"] != approval.digest) == ("bob", True)
        kept = ApprovalRevision.objects.get(approval=approval)
        assert (kept.revision, kept.arguments, kept.digest) == (1, {"id": 7}, approval.digest)
        assert events("approval.edited") == 1

    def test_what_was_shown_before_cannot_be_approved_any_more(self, ask: Ask, api: Api, bob: Principal) -> None:
        approval, client = ask(), api(bob)
        address = f"/api/approvals/{approval.pk}"
        client.post(f"{address}/edit/", {"revision": 1, "arguments": {"id": 8}}, "json")
        late = client.post(f"{address}/approve/", {"revision": 1}, "json")
        assert (late.status_code, "revision 2" in late.json()["error"]["message"]) == (409, True)
        again = client.post(f"{address}/edit/", {"revision": 1, "arguments": {"id": 9}}, "json")
        assert again.status_code == 409
        assert client.post(f"{address}/approve/", {"revision": 2}, "json").json()["status"] == "approved"

    def test_an_edit_to_what_the_policy_denies_is_refused(
        self, ask: Ask, api: Api, alice: Principal, bob: Principal
    ) -> None:
        approval = ask()
        rule = {"name": "never-9", "actions": ["delete"], "decision": "deny", "when": "arguments.id == 9"}
        policy = api(alice).post("/api/policies/", {"name": "p", "document": {"version": 1, "rules": [rule]}}, "json")
        assert policy.status_code == 201, policy.content
        api(alice).post(f"/api/policies/{policy.json()['id']}/activate/", {}, "json")
        body = {"revision": 1, "arguments": {"id": 9}}
        refused = api(bob).post(f"/api/approvals/{approval.pk}/edit/", body, "json")
        assert (refused.status_code, "never-9" in refused.json()["error"]["message"]) == (409, True)
        assert Approval.objects.get(pk=approval.pk).revision == 1

    def test_a_member_does_not_edit_and_mallory_sees_nothing(
        self, ask: Ask, api: Api, carol: Principal, mallory: Principal
    ) -> None:
        address, body = f"/api/approvals/{ask().pk}/edit/", {"revision": 1, "arguments": {}}
        assert api(carol).post(address, body, "json").status_code == 403
        assert api(mallory).post(address, body, "json").status_code == 404

    @pytest.mark.parametrize("body", [{}, {"revision": 1}, {"revision": 1, "arguments": [1]}], ids=["a", "b", "c"])
    def test_a_malformed_edit_is_a_400(self, ask: Ask, api: Api, bob: Principal, body: dict[str, Any]) -> None:
        assert api(bob).post(f"/api/approvals/{ask().pk}/edit/", body, "json").status_code == 400

    def test_under_four_eyes_the_editor_does_not_approve(
        self, ask: Ask, api: Api, alice: Principal, bob: Principal
    ) -> None:
        approval = ask()
        Approval.objects.filter(pk=approval.pk).update(four_eyes=True)
        address = f"/api/approvals/{approval.pk}"
        api(bob).post(f"{address}/edit/", {"revision": 1, "arguments": {"id": 8}}, "json")
        assert api(bob).post(f"{address}/approve/", {"revision": 2}, "json").status_code == 403
        assert api(alice).post(f"{address}/approve/", {"revision": 2}, "json").status_code == 200


# --- Bulk -----------------------------------------------------------------------------------------------------
def test_bulk_decides_each_by_itself(ask: Ask, api: Api, bob: Principal, mallory: Principal) -> None:
    first, second, old = ask(), ask(), ask()
    items = [
        {"id": str(first.pk), "revision": 1},
        {"id": str(old.pk), "revision": 7},
        {"id": str(second.pk), "revision": 1},
    ]
    answer = api(bob).post("/api/approvals/bulk/", {"decision": "approve", "items": items}, "json")
    assert answer.status_code == 200
    results = answer.json()["results"]
    assert [one["status"] for one in results] == ["approved", None, "approved"]
    assert results[1]["error"]["code"] == "already_decided"
    foreign = api(mallory).post("/api/approvals/bulk/", {"decision": "reject", "items": items[1:2]}, "json")
    assert foreign.json()["results"][0]["error"]["code"] == "not_found"
    assert Approval.objects.get(pk=old.pk).status == ApprovalStatus.PENDING


@pytest.mark.parametrize(
    "given", [{"decision": "execute"}, {"items": []}, {"items": "all"}], ids=["word", "none", "text"]
)
def test_a_malformed_bulk_is_a_400(ask: Ask, api: Api, bob: Principal, given: dict[str, Any]) -> None:
    body = {"decision": "approve", "items": [{"id": str(ask().pk), "revision": 1}], **given}
    assert api(bob).post("/api/approvals/bulk/", body, "json").status_code == 400


# --- Delegation -------------------------------------------------------------------------------------------------
class TestDelegation:
    def until(self, **given: Any) -> dict[str, Any]:
        return {"to": "carol", "ends_at": (timezone.now() + timedelta(days=2)).isoformat(), **given}

    def test_a_delegate_decides_for_a_while(self, ask: Ask, api: Api, bob: Principal, carol: Principal) -> None:
        approval = ask()
        decide = f"/api/approvals/{approval.pk}/approve/"
        assert api(carol).post(decide, {"revision": 1}, "json").status_code == 403
        assert api(bob).post("/api/delegations/", self.until(), "json").status_code == 201
        assert api(carol).post(decide, {"revision": 1}, "json").json()["decided_by"] == "carol"
        assert events("approvals.delegated") == 1

    def test_it_ends_by_itself_and_before_its_time(self, ask: Ask, api: Api, bob: Principal, carol: Principal) -> None:
        made = api(bob).post("/api/delegations/", self.until(), "json").json()
        first, second = ask(), ask()
        with time_machine.travel(timezone.now() + timedelta(days=3)):
            Approval.objects.update(expires_at=timezone.now() + timedelta(days=1))
            late = api(carol).post(f"/api/approvals/{first.pk}/approve/", {"revision": 1}, "json")
            assert late.status_code == 403
        assert api(bob).delete(f"/api/delegations/{made['id']}/").status_code == 204
        assert api(carol).post(f"/api/approvals/{second.pk}/approve/", {"revision": 1}, "json").status_code == 403

    def test_a_delegate_does_not_approve_what_they_caused(
        self, intern: Agent, api: Api, bob: Principal, carol: Principal
    ) -> None:
        api(bob).post("/api/delegations/", self.until(), "json")
        verdict = judge_action(action_of(intern, user_id=carol.user_id))
        address = f"/api/approvals/{verdict.approval_id}/approve/"
        assert api(carol).post(address, {"revision": 1}, "json").status_code == 403

    def test_a_narrow_token_does_not_grow(self, ask: Ask, api: Api, bob: Principal, carol: Principal) -> None:
        api(bob).post("/api/delegations/", self.until(), "json")
        narrow = api(carol).post("/api/tokens/", {"name": "bot", "scopes": ["chat"]}, "json").json()["token"]
        client = APIClient()
        client.credentials(HTTP_AUTHORIZATION=f"Bearer {narrow}")
        assert client.post(f"/api/approvals/{ask().pk}/approve/", {"revision": 1}, "json").status_code == 403

    def test_a_giver_who_loses_the_role_gives_nothing(
        self, ask: Ask, api: Api, bob: Principal, carol: Principal
    ) -> None:
        api(bob).post("/api/delegations/", self.until(), "json")
        User.objects.filter(pk=bob.user_id).update(is_active=False)
        assert api(carol).post(f"/api/approvals/{ask().pk}/approve/", {"revision": 1}, "json").status_code == 403

    @pytest.mark.parametrize(
        "given",
        [
            {"to": "bob"},
            {"to": "mallory"},
            {"ends_at": "2020-01-01T00:00:00Z"},
            {"ends_at": "2999-01-01T00:00:00Z"},
        ],
        ids=["oneself", "foreign", "past", "forever"],
    )
    def test_what_cannot_be_delegated_is_a_400(
        self, api: Api, bob: Principal, carol: Principal, mallory: Principal, given: dict[str, Any]
    ) -> None:
        assert api(bob).post("/api/delegations/", self.until(**given), "json").status_code == 400
        assert not ApprovalDelegation.objects.exists()

    def test_a_member_delegates_nothing_and_mallory_ends_nothing(
        self, api: Api, bob: Principal, carol: Principal, mallory: Principal
    ) -> None:
        assert api(carol).post("/api/delegations/", self.until(to="bob"), "json").status_code == 403
        made = api(bob).post("/api/delegations/", self.until(), "json").json()
        assert api(mallory).delete(f"/api/delegations/{made['id']}/").status_code == 404
        assert api(mallory).get("/api/delegations/").json()["results"] == []
        assert api(carol).delete(f"/api/delegations/{made['id']}/").status_code == 403


# --- Reminders ------------------------------------------------------------------------------------------------------
@pytest.fixture
def mailed(settings: Settings, alice: Principal, bob: Principal) -> None:
    settings.ATOM_EMAIL_FROM = "atom@example.com"
    User.objects.filter(pk=alice.user_id).update(email="alice@example.com")
    User.objects.filter(pk=bob.user_id).update(email="bob@example.com")


def test_approvers_are_reminded_at_half_time_and_owners_told_at_three_quarters(
    ask: Ask, mailed: None, django_capture_on_commit_callbacks: Any
) -> None:
    asked = ask()
    half, late = (asked.created_at + (asked.expires_at - asked.created_at) * share for share in (0.51, 0.76))
    assert reminders.remind_due() == 0
    for moment, event in ((half, "approval.reminded"), (late, "approval.escalated")):
        with time_machine.travel(moment), django_capture_on_commit_callbacks(execute=True):
            assert reminders.remind_due() == 1
            assert reminders.remind_due() == 0
        assert events(event) == 1
    assert [sorted(letter.to) for letter in mail.outbox] == [
        ["alice@example.com", "bob@example.com"],
        ["alice@example.com"],
    ]


def test_what_is_decided_reminds_nobody(ask: Ask, api: Api, bob: Principal) -> None:
    asked = ask()
    api(bob).post(f"/api/approvals/{asked.pk}/reject/", {"revision": 1}, "json")
    with time_machine.travel(asked.created_at + (asked.expires_at - asked.created_at) * 0.9):
        assert reminders.remind_due() == 0


# --- Reviewers ------------------------------------------------------------------------------------------------------
def test_reviewers_are_measured(ask: Ask, api: Api, alice: Principal, bob: Principal) -> None:
    slow, quick = ask(), ask()
    Approval.objects.filter(pk=slow.pk).update(created_at=timezone.now() - timedelta(seconds=100))
    for approval, word in ((slow, "approve"), (quick, "reject")):
        api(bob).post(f"/api/approvals/{approval.pk}/{word}/", {"revision": 1}, "json")
    [row] = api(alice).get("/api/approvals/reviewers/").json()["results"]
    assert (row["username"], row["decisions"], row["share_approved"]) == ("bob", 2, 0.5)
    assert (row["under_two_seconds"], 45 < row["mean_seconds"] < 60) == (1, True)
    assert api(bob).get("/api/approvals/reviewers/").status_code == 403


# --- Waiting and the inbox ------------------------------------------------------------------------------------
def approve_later(server: str, token: str, approval: Approval) -> threading.Thread:
    def decide() -> None:
        address = f"{server}/api/approvals/{approval.pk}/approve/"
        httpx.post(address, json={"revision": 1}, headers=bearer(token), timeout=30)

    thread = threading.Timer(0.3, decide)
    thread.start()
    return thread


@pytest.mark.django_db(transaction=True)
class TestHearing:
    def test_a_long_poll_answers_when_somebody_decides(
        self, server: str, ask: Ask, bob: Principal, token_of: Callable[[Principal], str]
    ) -> None:
        approval, token = ask(), token_of(bob)
        address = f"{server}/api/approvals/{approval.pk}/"
        assert httpx.get(address, params={"wait": 0}, headers=bearer(token)).json()["status"] == "pending"
        deciding = approve_later(server, token, approval)
        answer = httpx.get(address, params={"wait": 30}, headers=bearer(token), timeout=40)
        deciding.join()
        assert (answer.json()["status"], answer.elapsed.total_seconds() < 20) == ("approved", True)

    def test_a_wait_that_is_no_time_is_a_400_and_a_foreign_approval_a_404(
        self, server: str, ask: Ask, bob: Principal, mallory: Principal, token_of: Callable[[Principal], str]
    ) -> None:
        address = f"{server}/api/approvals/{ask().pk}/"
        for wait in ("soon", "-1", "61", "nan"):
            assert httpx.get(address, params={"wait": wait}, headers=bearer(token_of(bob))).status_code == 400
        assert httpx.get(address, params={"wait": 5}, headers=bearer(token_of(mallory))).status_code == 404

    def test_the_inbox_shows_what_waits_and_what_changes(
        self, server: str, ask: Ask, bob: Principal, token_of: Callable[[Principal], str], store: redis.Redis
    ) -> None:
        waiting, token = ask(), token_of(bob)
        url = f"{server.replace('http', 'ws')}/ws/inbox/"
        with connect(url, subprotocols=["atom.v1", f"bearer.{token}"], proxy=None) as inbox:  # type: ignore[list-item]
            assert told(inbox, waiting) == "pending"
            fresh = ask()
            assert told(inbox, fresh) == "pending"
            approve_later(server, token, waiting).join()
            assert told(inbox, waiting, "approved") == "approved"

    def test_the_inbox_of_another_workspace_stays_silent(
        self, server: str, ask: Ask, mallory: Principal, token_of: Callable[[Principal], str]
    ) -> None:
        url = f"{server.replace('http', 'ws')}/ws/inbox/"
        protocols: Any = ["atom.v1", f"bearer.{token_of(mallory)}"]
        with connect(url, subprotocols=protocols, proxy=None) as inbox:
            ask()
            with pytest.raises(TimeoutError):
                inbox.recv(timeout=1.0)


def told(inbox: Any, approval: Approval, status: str = "pending") -> str:
    """The status that the inbox gives for this approval, read until it says `status`."""
    for _ in range(10):
        frame = json.loads(inbox.recv(timeout=10))
        if (frame["type"], frame["id"], frame["status"]) == ("approval", str(approval.pk), status):
            return str(frame["status"])
    raise AssertionError("not told")
