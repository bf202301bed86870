"""Tokens, members and the audit trail over the API, and what every door has in common."""

from collections.abc import Callable
from datetime import timedelta
from importlib import import_module
from typing import Any

import httpx
import pytest
from django.db import DatabaseError, connection, transaction
from django.utils import timezone
from rest_framework.test import APIClient

from atom.ground import audit, tokens
from atom.ground.errors import BadRequest, NotAuthenticated
from atom.ground.models import AccessToken, AuditEntry, AuditHead, Membership, User
from atom.ground.principal import Principal
from tests.events import bearer

API = Callable[..., APIClient]


def test_a_token_is_shown_once_and_kept_as_a_digest(api: API, carol: Principal) -> None:
    made = api(carol).post("/api/tokens/", {"name": "mine", "scopes": ["chat"]}, format="json")
    assert made.status_code == 201
    secret = made.json()["token"]
    assert secret.startswith("sk-atom-")
    assert tokens.authenticate(secret).scopes == {"chat"}
    listed = api(carol).get("/api/tokens/").json()["results"]
    assert secret not in str(listed)
    assert not AccessToken.objects.filter(digest=secret).exists()


def test_a_token_without_the_scope_gets_a_403(api: API, carol: Principal) -> None:
    secret = api(carol).post("/api/tokens/", {"name": "mine", "scopes": ["feedback"]}, format="json").json()["token"]
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {secret}")
    assert client.get("/api/feedback/").status_code == 200
    assert client.get("/api/sessions/").status_code == 403


@pytest.mark.parametrize("scopes", [["fly"], ["admin"]])
def test_a_scope_that_is_unknown_or_beyond_the_role_is_a_400(api: API, carol: Principal, scopes: list[str]) -> None:
    assert api(carol).post("/api/tokens/", {"name": "mine", "scopes": scopes}, format="json").status_code == 400


def test_an_owner_makes_a_token_for_a_member_and_nobody_else_does(
    api: API, alice: Principal, bob: Principal, carol: Principal, mallory: Principal
) -> None:
    member = Membership.objects.get(user_id=carol.user_id)
    body = {"name": "for carol", "member": str(member.id)}
    secret = api(alice).post("/api/tokens/", body, format="json").json()["token"]
    assert tokens.authenticate(secret).username == "carol"
    assert api(bob).post("/api/tokens/", body, format="json").status_code == 403
    assert api(mallory).post("/api/tokens/", body, format="json").status_code == 404


def test_a_revoked_expired_or_orphaned_token_is_refused(api: API, alice: Principal, carol: Principal) -> None:
    carols = api(carol)
    made = [carols.post("/api/tokens/", {"name": name}, format="json").json() for name in ("a", "b", "c")]
    assert api(alice).delete(f"/api/tokens/{made[0]['id']}/").status_code == 204
    assert api(alice).delete(f"/api/tokens/{made[0]['id']}/").status_code == 404
    AccessToken.objects.filter(pk=made[1]["id"]).update(expires_at=timezone.now() - timedelta(seconds=1))
    for one in made[:2]:
        with pytest.raises(NotAuthenticated):
            tokens.authenticate(one["token"])
    tokens.authenticate(made[2]["token"])
    Membership.objects.filter(user_id=carol.user_id).delete()
    with pytest.raises(NotAuthenticated):
        tokens.authenticate(made[2]["token"])
    with pytest.raises(NotAuthenticated):
        tokens.principal_of_user(carol.user_id)


def test_a_shrunken_role_shrinks_its_tokens(api: API, bob: Principal) -> None:
    secret = api(bob).post("/api/tokens/", {"name": "mine"}, format="json").json()["token"]
    assert "approve" in tokens.authenticate(secret).scopes
    Membership.objects.filter(user_id=bob.user_id).update(role="member")
    assert "approve" not in tokens.authenticate(secret).scopes


def test_mallory_sees_no_token_member_or_audit_entry_of_alice(
    api: API, alice: Principal, carol: Principal, mallory: Principal
) -> None:
    made = api(carol).post("/api/tokens/", {"name": "mine"}, format="json").json()
    hers = api(mallory)
    assert hers.delete(f"/api/tokens/{made['id']}/").status_code == 404
    assert {row["name"] for row in hers.get("/api/tokens/").json()["results"]} == {"test"}
    assert {row["username"] for row in hers.get("/api/members/").json()["results"]} == {"mallory"}
    told = str(hers.get("/api/audit/").json())
    assert "carol" not in told
    assert str(alice.workspace_id) not in told


def test_members_are_added_by_an_owner_only(api: API, alice: Principal, carol: Principal) -> None:
    body = {"username": "dave", "password": "a long passphrase", "role": "operator"}
    assert api(carol).post("/api/members/", body, format="json").status_code == 403
    assert api(alice).post("/api/members/", body, format="json").status_code == 201
    assert api(alice).post("/api/members/", body, format="json").status_code == 409
    assert api(alice).post("/api/members/", {**body, "role": "king"}, format="json").status_code == 400
    assert User.objects.get(username="dave").memberships.get().role == "operator"


def test_the_audit_chain_is_whole_and_says_where_it_is_not(api: API, alice: Principal, carol: Principal) -> None:
    alices = api(alice)
    assert alices.get("/api/audit/verify/").json() == {"ok": True}
    assert api(carol).get("/api/audit/verify/").status_code == 403
    rows = list(AuditEntry.objects.filter(workspace_id=alice.workspace_id).order_by("seq"))
    assert [row.seq for row in rows] == list(range(1, len(rows) + 1))
    first = rows[0]
    AuditEntry.objects.filter(pk=first.pk).update(entry=first.entry.replace("test", "rest"))
    assert alices.post("/api/audit/verify/").json()["seq"] == 1
    AuditEntry.objects.filter(pk=first.pk).update(entry=first.entry, actor="somebody")
    assert audit.verify(alice.workspace_id) is not None
    AuditEntry.objects.filter(pk=first.pk).update(actor=first.actor)
    assert audit.verify_all() == []


def test_a_removed_entry_a_cut_end_and_a_forged_anchor_are_found(alice: Principal, carol: Principal) -> None:
    ours = AuditEntry.objects.filter(workspace_id=alice.workspace_id).order_by("seq")
    last = ours.last()
    assert last is not None
    AuditEntry.objects.filter(pk=last.pk).delete()
    found = audit.verify(alice.workspace_id)
    assert found is not None
    assert "cut off" in found.problem
    newest = ours.last()
    assert newest is not None
    AuditHead.objects.filter(workspace_id=alice.workspace_id).update(seq=newest.seq, hash=newest.hash)
    found = audit.verify(alice.workspace_id)
    assert found is not None
    assert "anchor" in found.problem
    AuditHead.objects.filter(workspace_id=alice.workspace_id).delete()
    assert audit.verify(alice.workspace_id) is not None
    first = ours.first()
    assert first is not None
    AuditEntry.objects.filter(pk=first.pk).delete()
    assert [found.workspace_id for found in audit.verify_all()] == [alice.workspace_id]


def test_the_database_refuses_to_change_an_entry(alice: Principal) -> None:
    migration = import_module("atom.ground.migrations.0002_audit_triggers")
    is_postgres = connection.vendor == "postgresql"
    with connection.cursor() as cursor:
        for statement in [migration.POSTGRES] if is_postgres else migration.SQLITE.values():
            cursor.execute(statement)
    # The test's own transaction takes the triggers away again.
    rows = AuditEntry.objects.all()
    for change in (lambda: rows.update(actor="x"), rows.delete):
        with pytest.raises(DatabaseError, match="never changed"), transaction.atomic():
            change()


def test_an_unknown_scope_word_in_code_is_refused(alice: Principal) -> None:
    membership = Membership.objects.get(user_id=alice.user_id)
    with pytest.raises(BadRequest):
        tokens.create_token(membership=membership, name="x", by="x", scopes=["fly"])


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("get", "/api/nothing/", None, 404),
        ("put", "/api/members/", {}, 405),
        ("get", "/api/tokens/00000000-0000-4000-8000-000000000000/", None, 405),
        ("delete", "/api/tokens/00000000-0000-4000-8000-000000000000/", None, 404),
        ("post", "/api/members/", {"username": {"a": 1}}, 400),
    ],
)
def test_every_refusal_has_the_one_shape(
    api: API, alice: Principal, method: str, path: str, body: dict[str, Any] | None, status: int
) -> None:
    answer = getattr(api(alice), method)(path, body, format="json")
    assert answer.status_code == status
    assert set(answer.json()["error"]) == {"message", "type", "code", "param", "details"}


def test_another_content_type_is_a_415(api: API, alice: Principal) -> None:
    answer = api(alice).post("/api/members/", "a=b", content_type="application/x-www-form-urlencoded")
    assert answer.status_code == 415


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/api/members/"])
def test_too_large_a_body_is_a_413_declared_or_not(
    server: str, alice: Principal, token_of: Callable[[Principal], str], path: str
) -> None:
    def pieces() -> Any:
        for _ in range(30):
            yield b"x" * 1_000_000

    headers = {**bearer(token_of(alice)), "Content-Type": "application/json"}
    with httpx.Client(base_url=server, headers=headers, trust_env=False, timeout=30) as client:
        try:
            answer = client.post(path, content=pieces())
        except httpx.HTTPError:
            answer = client.post(path, content=b"", headers={"Content-Length": "30000000"})
        assert answer.status_code == 413
        assert answer.json()["error"]["code"] == "too_large"


def test_each_answer_carries_a_request_id_and_keeps_a_sane_one(server: str) -> None:
    with httpx.Client(base_url=server, trust_env=False) as client:
        first, second = (client.get("/healthz").headers["x-request-id"] for _ in range(2))
        assert first != second
        given = client.get("/healthz", headers={"x-request-id": "abc-123"})
        assert given.headers["x-request-id"] == "abc-123"
        assert client.get("/healthz", headers={"x-request-id": "a b;c"}).headers["x-request-id"] != "a b;c"
        wrong = client.get("/v1/chat/completions", headers={"Authorization": "Bearer x"})
        assert wrong.status_code == 401


def test_a_wrong_method_on_a_hot_door_is_a_405(
    server: str, alice: Principal, token_of: Callable[[Principal], str]
) -> None:
    headers = bearer(token_of(alice))
    assert httpx.get(f"{server}/v1/chat/completions", headers=headers).status_code == 405
    secret = headers["Authorization"].removeprefix("Bearer ")
    for name in ("x-api-key", "x-goog-api-key"):
        assert httpx.get(f"{server}/v1/models", headers={name: secret}).status_code == 200
