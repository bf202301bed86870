from collections.abc import Callable

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from atom.ground.models import User
from atom.ground.principal import Principal
from governance import services
from governance.models import Approval, ApprovalStatus, Decision

Ask = Callable[..., Approval]
INBOX = "/admin/governance/approval/"


def signed_in(principal: Principal) -> Client:
    client = Client()
    client.force_login(User.objects.get(pk=principal.user_id))
    return client


def page(client: Client, path: str) -> str:
    answer = client.get(path)
    assert answer.status_code == 200
    return answer.content.decode()


def decision_on(approval: Approval, note: str = "", revision: int = 1) -> dict[str, object]:
    return {"_form_submitted": "True", "revision": revision, "note": note}


def url(approval: Approval, verb: str) -> str:
    return reverse(f"admin:governance_approval_{verb}", args=[approval.pk])


def test_the_inbox_shows_what_waits_first(ask: Ask, bob: Principal) -> None:
    waiting = ask(arguments={"id": "waits-longest"})
    overdue = ask(arguments={"id": "overdue"})
    Approval.objects.filter(pk=overdue.pk).update(expires_at=timezone.now())
    services.reject(approval=ask(arguments={"id": "rejected"}), principal=bob, revision=1)
    newest = ask(arguments={"id": "waits-shortest"})
    html = page(signed_in(bob), INBOX)
    places = [html.index(f"id: {word}") for word in ("waits-shortest", "waits-longest", "rejected", "overdue")]
    assert places == sorted(places)
    assert html.count("just now") == 4
    assert url(newest, "approve") in html
    assert url(waiting, "reject") in html


def test_arguments_are_readable(ask: Ask, bob: Principal) -> None:
    approval = ask(arguments={"subject": "<b>Hi</b>", "to": ["a@example.org"]})
    html = page(signed_in(bob), f"{INBOX}{approval.pk}/change/")
    assert ">subject:</span> &lt;b&gt;Hi&lt;/b&gt;</div>" in html
    assert "a@example.org" in html
    assert "An intern may delete only after a person has approved it." in html


def test_an_approval_without_arguments_has_a_page(ask: Ask, bob: Principal) -> None:
    assert "Your decision" in page(signed_in(bob), f"{INBOX}{ask(arguments={}).pk}/change/")


@pytest.mark.parametrize(("verb", "status"), [("approve", "approved"), ("reject", "rejected")])
def test_an_approver_decides_with_a_reason(ask: Ask, bob: Principal, verb: str, status: str) -> None:
    approval = ask()
    client = signed_in(bob)
    html = page(client, f"{INBOX}{approval.pk}/change/")
    assert 'name="note"' in html
    assert f'action="{url(approval, verb)}"' in html
    answer = client.post(url(approval, verb), decision_on(approval, "as agreed"), follow=True)
    assert f"{status.capitalize()}: delete by Intern." in answer.content.decode()
    approval.refresh_from_db()
    assert (approval.status, approval.decided_by_id, approval.note) == (status, bob.user_id, "as agreed")
    assert "Your decision" not in page(client, f"{INBOX}{approval.pk}/change/")


def test_the_dialog_of_a_row_leads_back_to_the_inbox(ask: Ask, bob: Principal) -> None:
    approval = ask()
    client = signed_in(bob)
    assert ">id:</span> 7</div>" in page(client, url(approval, "approve"))
    answer = client.post(url(approval, "approve"), decision_on(approval), headers={"HX-Request": "true"})
    assert answer.headers["HX-Redirect"] == INBOX


def test_opening_the_dialog_decides_nothing(ask: Ask, bob: Principal) -> None:
    approval = ask()
    signed_in(bob).get(url(approval, "approve"))
    approval.refresh_from_db()
    assert approval.status == ApprovalStatus.PENDING


def test_a_decision_from_elsewhere_is_refused(ask: Ask, bob: Principal) -> None:
    approval = ask()
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.get(pk=bob.user_id))
    assert client.post(url(approval, "approve"), decision_on(approval)).status_code == 403


def test_who_comes_second_reads_who_was_first(ask: Ask, alice: Principal, bob: Principal) -> None:
    approval = ask()
    services.approve(approval=approval, principal=bob, revision=1)
    answer = signed_in(alice).post(url(approval, "reject"), decision_on(approval), follow=True)
    assert "This was already approved by bob." in answer.content.decode()


def test_an_old_revision_is_not_approved(ask: Ask, bob: Principal) -> None:
    approval = ask()
    Approval.objects.update(revision=2)
    answer = signed_in(bob).post(url(approval, "approve"), decision_on(approval, revision=1), follow=True)
    assert "revision 2 now" in answer.content.decode()


def test_a_decision_without_a_revision_is_asked_again(ask: Ask, bob: Principal) -> None:
    approval = ask()
    assert signed_in(bob).post(url(approval, "approve"), {"_form_submitted": "True"}).status_code == 200
    approval.refresh_from_db()
    assert approval.status == ApprovalStatus.PENDING


def test_a_member_looks_and_does_not_decide(ask: Ask, carol: Principal) -> None:
    approval = ask()
    client = signed_in(carol)
    assert url(approval, "approve") not in page(client, INBOX)
    assert "Your decision" not in page(client, f"{INBOX}{approval.pk}/change/")
    assert client.post(url(approval, "approve"), decision_on(approval)).status_code == 403


def test_mallory_finds_nothing(ask: Ask, mallory: Principal) -> None:
    approval = ask(arguments={"id": "secret-seven"})
    client = signed_in(mallory)
    for path in (INBOX, "/admin/governance/decision/"):
        html = page(client, path)
        assert "secret-seven" not in html
        assert str(approval.pk) not in html
        # Nor the agent, in a list filter.
        assert str(approval.agent_id) not in html
    assert client.get(f"{INBOX}{approval.pk}/change/").status_code == 404
    assert client.get(f"/admin/governance/decision/{approval.decision_id}/change/").status_code == 302
    for verb in ("approve", "reject"):
        assert client.get(url(approval, verb)).status_code == 404
        assert client.post(url(approval, verb), decision_on(approval)).status_code == 404
    approval.refresh_from_db()
    assert approval.status == ApprovalStatus.PENDING


def test_an_address_that_is_no_id_is_not_found(bob: Principal) -> None:
    assert signed_in(bob).get(f"{INBOX}7/approve/").status_code == 404
    assert signed_in(bob).get(f"{INBOX}7/change/").status_code == 404


def test_nobody_changes_rows_by_hand(ask: Ask, alice: Principal) -> None:
    approval = ask()
    client = signed_in(alice)
    assert client.get(f"{INBOX}add/").status_code in {403, 404}
    assert client.post(f"{INBOX}{approval.pk}/change/", {"status": "approved"}).status_code == 403
    assert client.post(f"{INBOX}{approval.pk}/delete/", {"post": "yes"}).status_code == 403


def test_decisions_are_read(ask: Ask, alice: Principal) -> None:
    ask()
    row = Decision.objects.get()
    client = signed_in(alice)
    assert "An intern may delete only" in page(client, "/admin/governance/decision/")
    html = page(client, f"/admin/governance/decision/{row.pk}/change/")
    assert "matrix:intern:4" in html
    assert client.post(f"/admin/governance/decision/{row.pk}/change/", {}).status_code == 403


def test_a_result_is_shown(ask: Ask, bob: Principal) -> None:
    approval = ask()
    Approval.objects.update(status=ApprovalStatus.EXECUTED, result={"rows": 12345})
    assert "12345" in page(signed_in(bob), f"{INBOX}{approval.pk}/change/")
