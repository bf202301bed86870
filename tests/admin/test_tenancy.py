"""Every admin page shows one workspace: what Mallory sees of Alice's rows is nothing."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib import admin
from django.db.models import Model
from django.test import Client
from django.urls import reverse

from atom.ground.admin import WorkspaceAdmin
from atom.ground.principal import Principal

Browser = Callable[[Principal], Client]
LABELS = [
    "agents.agent",
    "agents.session",
    "agents.run",
    "ground.accesstoken",
    "ground.membership",
    "ground.workspace",
    "ground.auditentry",
    "governance.decision",
    "governance.approval",
    "governance.policy",
    "feedback.feedback",
    "governance.proposal",
    "governance.review",
    "governance.trainingtask",
    "governance.triggeredrun",
    "governance.confidencechange",
    "llm.providerkey",
    "llm.modelprice",
    "llm.modelalias",
]


def address(label: str, page: str, *args: Any) -> str:
    return reverse(f"admin:{label.replace('.', '_')}_{page}", args=args)


def pages_of(row: Model) -> list[str]:
    """Every address of the admin that leads to one row."""
    prefix = f"{row._meta.app_label}_{row._meta.model_name}_"
    urls = admin.site.get_model_admin(type(row)).get_urls()
    names = {
        found.name
        for found in urls
        if found.name and found.name.startswith(prefix) and "object_id" in found.pattern.converters
    }
    return [reverse(f"admin:{name}", args=[row.pk]) for name in sorted(names)]


def test_every_page_of_the_admin_is_of_one_workspace() -> None:
    foreign = [model for model, page in admin.site._registry.items() if not isinstance(page, WorkspaceAdmin)]
    assert foreign == []


@pytest.mark.parametrize("label", LABELS)
def test_the_owner_sees_the_list_and_the_row(
    label: str, rows: dict[str, Any], alice: Principal, browser: Browser
) -> None:
    client = browser(alice)
    listed = client.get(address(label, "changelist"))
    assert listed.status_code == 200
    assert str(rows[label].pk) in listed.text
    assert client.get(address(label, "change", rows[label].pk)).status_code == 200


@pytest.mark.parametrize("label", LABELS)
def test_a_foreign_list_is_empty(label: str, rows: dict[str, Any], mallory: Principal, browser: Browser) -> None:
    client = browser(mallory)
    listed = client.get(address(label, "changelist"))
    assert listed.status_code == 200
    assert rows[label].pk not in [row.pk for row in listed.context["cl"].result_list]
    assert "zebra" not in listed.text.lower()


@pytest.mark.parametrize("label", [label for label in LABELS if label != "ground.workspace"])
def test_a_search_finds_no_foreign_rows(label: str, rows: dict[str, Any], mallory: Principal, browser: Browser) -> None:
    found = browser(mallory).get(address(label, "changelist"), {"q": "zebra"})
    assert found.context["cl"].result_count == 0


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("method", ["get", "post"])
def test_no_page_of_a_foreign_row_opens(
    label: str, method: str, rows: dict[str, Any], mallory: Principal, browser: Browser
) -> None:
    client = browser(mallory)
    for page in pages_of(rows[label]):
        answer = getattr(client, method)(page, follow=True)
        assert "zebra" not in answer.text.lower(), page
        assert "Alice" not in answer.text, page
        rows[label].refresh_from_db()


def test_filters_offer_no_foreign_agents(rows: dict[str, Any], mallory: Principal, browser: Browser) -> None:
    for label in ("agents.session", "agents.run", "governance.approval", "governance.decision", "feedback.feedback"):
        assert "Zebra" not in browser(mallory).get(address(label, "changelist")).text


def test_a_filter_by_a_foreign_id_finds_nothing(rows: dict[str, Any], mallory: Principal, browser: Browser) -> None:
    client = browser(mallory)
    agent = rows["agents.agent"]
    listed = client.get(address("agents.run", "changelist"), {"agent__id__exact": str(agent.pk)}, follow=True)
    assert "zebra" not in listed.text.lower()


def test_the_front_page_counts_no_foreign_rows(
    rows: dict[str, Any], alice: Principal, mallory: Principal, browser: Browser
) -> None:
    assert browser(alice).get("/admin/").context["pending_count"] == 1
    found = browser(mallory).get("/admin/").context
    assert (found["pending_count"], found["pending"], found["latest"], found["day"].runs) == (0, [], [], 0)


def test_the_search_of_the_sidebar_finds_no_foreign_rows(
    rows: dict[str, Any], mallory: Principal, browser: Browser
) -> None:
    assert "zebra" not in browser(mallory).get("/admin/search/", {"s": "zebra", "extended": "1"}).text.lower()


def test_autocomplete_gives_no_foreign_rows(rows: dict[str, Any], mallory: Principal, browser: Browser) -> None:
    for model, field in (("session", "agent"), ("run", "agent"), ("run", "session")):
        asked = {"app_label": "agents", "model_name": model, "field_name": field, "term": "zebra"}
        assert "zebra" not in browser(mallory).get("/admin/autocomplete/", asked).text.lower()


def test_somebody_without_a_workspace_sees_an_explanation(
    rows: dict[str, Any], alice: Principal, browser: Browser
) -> None:
    client = browser(alice)
    rows["ground.membership"].delete()
    assert "You belong to no workspace yet" in client.get("/admin/").text
    assert client.get(address("agents.agent", "changelist")).status_code == 403
    assert client.get("/admin/playground/").status_code == 403
