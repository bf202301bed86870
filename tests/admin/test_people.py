"""Tokens, members and the audit trail in the admin."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from agents.models import Agent
from atom.ground import tokens
from atom.ground.errors import NotAuthenticated
from atom.ground.models import AccessToken, AuditEntry, Membership
from atom.ground.principal import Principal

Browser = Callable[[Principal], Client]
TOKENS = "/admin/ground/accesstoken/"


def make_token(client: Client, **given: Any) -> Any:
    return client.post(f"{TOKENS}add/", {"name": "pipeline", "scopes": ["chat"], **given})


def test_a_new_tokens_secret_is_shown_once(alice: Principal, browser: Browser) -> None:
    client = browser(alice)
    made = make_token(client)
    found = re.search(r"sk-atom-[0-9a-f]{64}", made.text)
    assert found is not None
    secret = found[0]
    assert tokens.authenticate(secret).user_id == alice.user_id
    assert "no-store" in made.headers["Cache-Control"]
    token = AccessToken.objects.get(name="pipeline")
    for page in (TOKENS, f"{TOKENS}{token.pk}/change/", "/admin/"):
        assert secret not in client.get(page).text
    assert all(secret not in entry.entry for entry in AuditEntry.objects.all())


def test_a_token_is_made_with_an_agent_models_and_a_hold(
    alice: Principal, browser: Browser, make_agent: Callable[..., Agent]
) -> None:
    make_agent("helper")
    client = browser(alice)
    assert 'value="helper"' in client.get(f"{TOKENS}add/").text
    limits = {"agent": "helper", "models": "openai/gpt-4.1\n local/tiny \n", "approval_hold_seconds": "5"}
    assert "sk-atom-" in make_token(client, **limits).text
    token = AccessToken.objects.get(name="pipeline")
    assert token.binding.agent.slug == "helper"
    assert (token.models, token.approval_hold_seconds) == (["local/tiny", "openai/gpt-4.1"], 5)
    page = client.get(f"{TOKENS}{token.pk}/change/").text
    assert all(text in page for text in ("helper", "local/tiny, openai/gpt-4.1", "5 s"))


def test_a_token_without_limits_says_so(alice: Principal, browser: Browser) -> None:
    client = browser(alice)
    make_token(client)
    token = AccessToken.objects.get(name="pipeline")
    assert (token.models, token.approval_hold_seconds, hasattr(token, "binding")) == (None, None, False)
    page = client.get(f"{TOKENS}{token.pk}/change/").text
    assert all(text in page for text in ("any", "every model", "as the installation says"))


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"models": "nobody/x"}, "provider/model of a known provider"),
        ({"approval_hold_seconds": "601"}, "600"),
        ({"approval_hold_seconds": "-1"}, "0"),
        ({"agent": "nobody"}, "valid choice"),
    ],
)
def test_a_limit_that_cannot_be_is_said_beside_its_field(
    alice: Principal, browser: Browser, wrong: dict[str, str], says: str
) -> None:
    refused = make_token(browser(alice), **wrong)
    assert says in refused.text
    assert not AccessToken.objects.filter(name="pipeline").exists()


def test_an_agent_of_another_workspace_is_none_to_choose(
    mallory: Principal, browser: Browser, make_agent: Callable[..., Agent]
) -> None:
    make_agent("helper")
    client = browser(mallory)
    assert 'value="helper"' not in client.get(f"{TOKENS}add/").text
    assert "valid choice" in make_token(client, agent="helper").text


def test_a_member_makes_no_token_beyond_their_role(carol: Principal, browser: Browser) -> None:
    client = browser(carol)
    assert 'value="admin"' not in client.get(f"{TOKENS}add/").text
    refused = make_token(client, scopes=["admin"])
    assert "sk-atom-" not in refused.text
    assert not AccessToken.objects.filter(name="pipeline").exists()


def test_a_member_sees_only_their_own_tokens(alice: Principal, carol: Principal, browser: Browser) -> None:
    make_token(browser(alice))
    assert "pipeline" not in browser(carol).get(TOKENS).text


def test_a_token_is_revoked_after_a_confirmation(alice: Principal, browser: Browser) -> None:
    client = browser(alice)
    secret = re.search(r"sk-atom-[0-9a-f]{64}", make_token(client).text)
    token = AccessToken.objects.get(name="pipeline")
    page = f"{TOKENS}{token.pk}/revoke/"
    assert "Revoke this token?" in client.get(page).text
    token.refresh_from_db()
    assert not token.is_revoked
    client.post(page)
    assert secret is not None
    with pytest.raises(NotAuthenticated):
        tokens.authenticate(secret[0])
    assert AuditEntry.objects.filter(event="token.revoked").exists()


def test_chosen_tokens_are_revoked_together(alice: Principal, browser: Browser) -> None:
    client = browser(alice)
    make_token(client)
    make_token(client, name="other")
    chosen = [str(pk) for pk in AccessToken.objects.values_list("pk", flat=True)]
    client.post(TOKENS, {"action": "revoke", "_selected_action": chosen})
    assert not AccessToken.objects.filter(revoked_at=None).exists()


def test_an_owner_adds_a_member_who_can_sign_in(alice: Principal, browser: Browser) -> None:
    given = {"username": "dora", "password": "plenty of zebras", "role": "operator"}
    browser(alice).post("/admin/ground/membership/add/", given)
    assert Membership.objects.get(user__username="dora").workspace_id == alice.workspace_id
    assert Client().login(username="dora", password="plenty of zebras")
    assert AuditEntry.objects.filter(event="member.added").exists()


def test_a_taken_name_is_a_message_not_an_error(alice: Principal, bob: Principal, browser: Browser) -> None:
    given = {"username": "bob", "password": "plenty of zebras", "role": "member"}
    answer = browser(alice).post("/admin/ground/membership/add/", given, follow=True)
    assert answer.status_code == 200
    assert "This username is taken." in answer.text


@pytest.mark.parametrize("page", ["membership", "auditentry", "workspace"])
def test_a_member_sees_no_settings(page: str, carol: Principal, browser: Browser) -> None:
    client = browser(carol)
    assert client.get(f"/admin/ground/{page}/").status_code == 403
    assert f"/admin/ground/{page}/" not in client.get("/admin/").text


def test_nobody_changes_or_deletes_an_audit_entry(alice: Principal, browser: Browser) -> None:
    client = browser(alice)
    entry = AuditEntry.objects.get(event="workspace.created", workspace_id=alice.workspace_id)
    assert client.post(reverse("admin:ground_auditentry_change", args=[entry.pk]), {"actor": "x"}).status_code == 403
    assert client.post(reverse("admin:ground_auditentry_delete", args=[entry.pk])).status_code == 403
    assert client.get("/admin/ground/auditentry/add/").status_code == 403


def test_the_trail_is_searched_by_its_text(alice: Principal, bob: Principal, browser: Browser) -> None:
    found = browser(alice).get("/admin/ground/auditentry/", {"q": "member.added"})
    assert [entry.event for entry in found.context["cl"].result_list] == ["member.added"]
