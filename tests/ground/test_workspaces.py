"""`/api/workspaces/`: tenants are opened by the installation's admin only."""

from collections.abc import Callable
from typing import Any

import pytest
from rest_framework.test import APIClient

from atom.ground.models import User
from atom.ground.principal import Principal

API = Callable[..., APIClient]
NEW: dict[str, Any] = {"name": "Acme", "owner": {"username": "zoe", "password": "a long passphrase"}}


def test_the_installations_admin_opens_a_workspace_whose_owner_starts_alone(api: API, alice: Principal) -> None:
    User.objects.filter(pk=alice.user_id).update(is_superuser=True)
    made = api(alice).post("/api/workspaces/", NEW, format="json")
    assert made.status_code == 201
    zoe = APIClient()
    zoe.credentials(HTTP_AUTHORIZATION=f"Bearer {made.json()['access_token']}")
    [member] = zoe.get("/api/members/").json()["results"]
    assert (member["username"], member["role"]) == ("zoe", "owner")
    assert api(alice).post("/api/workspaces/", NEW, format="json").status_code == 409


def test_an_owner_of_a_workspace_opens_no_other(api: API, alice: Principal) -> None:
    assert api(alice).post("/api/workspaces/", NEW, format="json").status_code == 403
    assert not User.objects.filter(username="zoe").exists()


@pytest.mark.parametrize("password", ["short", "12345678901", "password"])
def test_a_weak_password_is_a_400_and_opens_nothing(api: API, alice: Principal, password: str) -> None:
    User.objects.filter(pk=alice.user_id).update(is_superuser=True)
    body = {**NEW, "owner": {"username": "zoe", "password": password}}
    assert api(alice).post("/api/workspaces/", body, format="json").status_code == 400
    assert not User.objects.filter(username="zoe").exists()
