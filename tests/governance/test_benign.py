"""Harmless calls at the right level are never blocked; and what cannot be judged is never counted as a block."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import redis
import time_machine
import yaml
from asgiref.sync import async_to_sync
from django.test import Client
from django.urls import reverse
from prometheus_client.parser import text_string_to_metric_families
from rest_framework.test import APIClient

from agents.models import Agent, Maturity
from atom import prometheus
from atom.ground.models import AuditEntry, User
from atom.ground.principal import Principal
from governance.judging import judge_action
from governance.models import Approval, Decision
from governance.policies import services
from tests.governance.conftest import action_of

API = Callable[[Principal], APIClient]
GUIDE = Path(__file__).resolve().parents[2] / "docs" / "governance.md"
NOON = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)

# Level, action, arguments: five for each level and complexity that the matrix trusts it with.
BENIGN: list[tuple[str, str, dict[str, Any]]] = [
    ("student", "read", {"path": "notes/delete-me-not.txt"}),
    ("student", "search", {"query": "how do I drop a table in SQL?"}),
    ("student", "list", {"folder": "/", "limit": 100}),
    ("student", "memory_search", {"text": "payment terms"}),
    ("student", "chat", {"text": "Please don't transfer anything; just tell me a joke."}),
    ("intern", "get", {"id": 7}),
    ("intern", "fetch", {"url": "https://example.com/?q=1&x=DROP"}),
    ("intern", "summarize", {"text": "kill the process, then purge the queue"}),
    ("intern", "verify", {"signature": "a" * 500}),
    ("intern", "present_chart", {"values": [1, 2.5, -3, 0, 1e9]}),
    ("intern", "analyze", {"rows": [{"amount": 90000}, {"amount": None}]}),
    ("intern", "draft", {"to": "somebody@example.org", "text": "Dear all, …"}),
    ("intern", "suggest", {"options": []}),
    ("intern", "browser_navigate", {"url": "https://example.com"}),
    ("intern", "memory_remember", {"fact": "Ann's birthday is on 1 May", "force": True}),
    ("supervised", "lookup", {"name": "O'Brien; --"}),
    ("supervised", "check", {}),
    ("supervised", "shell_read", {"command": "cat /var/log/app.log"}),
    ("supervised", "present_markdown", {"text": "# Report\n\n* one"}),
    ("supervised", "readFile", {"path": "a.txt"}),
    ("supervised", "plan", {"steps": ["delete", "deploy"]}),
    ("supervised", "generate", {"kind": "report", "pages": 12}),
    ("supervised", "recommend", {"for": "ann@example.com"}),
    ("supervised", "update_canvas", {"html": "<b>hello</b>"}),
    ("supervised", "device_get_location", {"precise": False}),
    ("supervised", "create", {"title": "Delete all the things", "tags": ["pay"]}),
    ("supervised", "send_email", {"to": "ann@example.com", "text": "Minutes attached."}),
    ("supervised", "update", {"id": 7, "name": "new"}),
    ("supervised", "add_comment", {"text": "👍 日本語"}),
    ("supervised", "schedule", {"at": "2026-05-01T10:00:00Z"}),
    ("autonomous", "read", {"ids": list(range(50))}),
    ("autonomous", "search", {"query": ""}),
    ("autonomous", "list", {"filter": {"amount": {"min": 501}}}),
    ("autonomous", "fetch", {"url": "https://example.org/transfer"}),
    ("autonomous", "get", {"nested": {"a": {"b": {"c": [None, True, 1.5]}}}}),
    ("autonomous", "propose", {"text": "Shall we refund them?"}),
    ("autonomous", "present_form", {"fields": [{"name": "amount", "type": "number"}]}),
    ("autonomous", "browser_extract", {"selector": "#total"}),
    ("autonomous", "generate", {"temperature": 0.7}),
    ("autonomous", "device_send_notification", {"text": "Done."}),
    ("autonomous", "edit", {"id": 1, "amount": "twelve"}),
    ("autonomous", "send_email", {"to": "press@example.org", "text": "Hello."}),
    ("autonomous", "upload", {"name": "x.csv", "bytes": 10**9}),
    ("autonomous", "assign", {"to": "bob"}),
    ("autonomous", "submit_form", {"values": {"agree": True}}),
    ("autonomous", "delete", {"id": 7}),
    ("autonomous", "transfer", {"amount": 500, "to": "ACME"}),
    ("autonomous", "pay", {"amount": 0.01}),
    ("autonomous", "bulk_delete", {"ids": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]}),
    ("autonomous", "deploy", {"service": "web", "version": "1.2.3"}),
]


def documented_rules() -> list[dict[str, Any]]:
    """The rules of the guide's two example policies."""
    blocks = [text.split("```")[0] for text in GUIDE.read_text().split("```yaml\n")[1:]]
    whole = [yaml.safe_load(text) for text in blocks if "examples:" in text and "# refused" not in text]
    return [rule for document in whole[:2] for rule in document["rules"]]


@pytest.fixture
def agents(make_agent: Callable[..., Agent]) -> dict[str, Agent]:
    return {level: make_agent(level, maturity=level) for level in Maturity.values}


@pytest.mark.parametrize("governed_by", ["the matrix alone", "the guide's policy"])
def test_fifty_benign_calls_at_the_right_level_are_not_blocked(
    api: API, alice: Principal, agents: dict[str, Agent], store: redis.Redis, governed_by: str
) -> None:
    assert len(BENIGN) == 50
    if governed_by == "the guide's policy":
        rules = documented_rules()
        assert len(rules) == 5
        version = services.save_policy(principal=alice, name="guide", document={"version": 1, "rules": rules})
        services.activate(policy=version.policy, principal=alice)
    client = api(alice)
    with time_machine.travel(NOON, tick=True):
        for level, action, arguments in BENIGN:
            body = {"agent": level, "action": action, "arguments": arguments}
            answer = client.post("/api/actions/", body, format="json").json()
            assert (answer["decision"] in {"allow", "watch"}, answer["is_error"]) == (True, False), (body, answer)
    assert not Approval.objects.exists()
    assert Decision.objects.filter(decision__in=["allow", "watch"], is_error=False).count() == 50
    assert AuditEntry.objects.filter(event__in=["action.allowed", "action.watched"]).count() == 50


def test_all_levels_and_complexities_that_the_matrix_trusts_are_among_them(
    api: API, alice: Principal, agents: dict[str, Agent], store: redis.Redis
) -> None:
    for level, action, arguments in BENIGN:
        judge_action(action_of(agents[level], action, arguments=arguments))
    cells = Decision.objects.values_list("agent__slug", "complexity")
    assert {cell: list(cells).count(cell) for cell in cells} == {
        **{("student", 1): 5, ("intern", 1): 5, ("intern", 2): 5},
        **{("supervised", complexity): 5 for complexity in (1, 2, 3)},
        **{("autonomous", complexity): 5 for complexity in (1, 2, 3, 4)},
    }


@pytest.fixture
def one_block_and_two_errors(alice: Principal, agents: dict[str, Agent], store: redis.Redis) -> None:
    rule = {"name": "no-large", "actions": ["transfer"], "decision": "deny", "when": "arguments.amount > 500"}
    version = services.save_policy(principal=alice, name="house", document={"version": 1, "rules": [rule]})
    services.activate(policy=version.policy, principal=alice)
    for amount in ("900", 900, ["x"]):
        judge_action(action_of(agents["autonomous"], "transfer", arguments={"amount": amount}))


def test_an_error_is_no_block_in_decisions_and_audit(one_block_and_two_errors: None) -> None:
    assert Decision.objects.filter(decision="deny", is_error=False).count() == 1
    assert Decision.objects.filter(is_error=True).count() == 2
    assert AuditEntry.objects.filter(event="action.denied").count() == 1
    assert AuditEntry.objects.filter(event="action.not_judged").count() == 2


def test_an_error_is_no_block_on_the_page(one_block_and_two_errors: None, alice: Principal) -> None:
    browser = Client()
    browser.force_login(User.objects.get(pk=alice.user_id))
    page = browser.get(reverse("admin:governance_decision_changelist")).content.decode()
    cells = [part.split("</td>")[0] for part in page.split("field-verdict")[1:]]
    shown = [word.split("<")[0].strip() for cell in cells for word in cell.split(">")]
    assert (shown.count("not judged"), shown.count("deny")) == (2, 1)


@pytest.mark.django_db(transaction=True)
def test_an_error_is_no_block_in_the_metrics(one_block_and_two_errors: None) -> None:
    page = async_to_sync(prometheus.exposition)(prometheus.all_workspaces()).decode()
    found = {
        sample.labels["verdict"]: sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == "atom_decisions_last_hour"
    }
    assert found == {"deny": 1.0, "error": 2.0}
