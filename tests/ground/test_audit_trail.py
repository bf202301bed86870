"""The audit trail outside the database: filters, export, and checkpoints that a rewritten chain cannot meet."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.core.management import call_command
from pytest_django import Settings
from rest_framework.test import APIClient

from agents.models import Agent
from agents.services import set_status
from atom.ground import audit, checkpoints, trail
from atom.ground.models import AuditEntry, AuditHead, Workspace
from atom.ground.principal import Principal
from atom.ground.tasks import write_checkpoints
from tests.events import bearer

API = Callable[..., APIClient]
SMALLEST = 1e-3


def add(workspace: Workspace, count: int) -> None:
    for number in range(count):
        audit.append(workspace_id=workspace.id, actor="test", event="thing.done", details={"number": number})


def run_audit(*words: str) -> tuple[int, str, str]:
    """Exit status, standard output, standard error of `manage.py audit`."""
    out, err = StringIO(), StringIO()
    try:
        call_command("audit", *words, stdout=out, stderr=err)
    except SystemExit as exc:
        return int(str(exc.code)), out.getvalue(), err.getvalue()
    return 0, out.getvalue(), err.getvalue()


def rewrite(workspace: Workspace, count: int) -> None:
    """As somebody with the database and the secret key would: every entry and the anchor made anew."""
    AuditEntry.objects.filter(workspace=workspace).delete()
    AuditHead.objects.filter(workspace=workspace).delete()
    add(workspace, count)


@pytest.fixture
def kept(settings: Settings, tmp_path: Path) -> Path:
    """The file off the box."""
    settings.ATOM_AUDIT_CHECKPOINTS = str(tmp_path / "checkpoints.jsonl")
    return tmp_path / "checkpoints.jsonl"


# --- Checkpoints ------------------------------------------------------------------------------------------
def test_a_whole_chain_is_as_its_checkpoints_say(workspace: Workspace, kept: Path) -> None:
    assert run_audit("checkpoint") == (0, "", "1 chains signed\n")
    add(workspace, 3)
    assert write_checkpoints() == 1
    assert [json.loads(line)["seq"] for line in kept.read_text().splitlines()] == [1, 4]
    status, out, _ = run_audit("verify", "--against", str(kept))
    assert (status, out) == (0, "whole: 4 entries, as 2 checkpoints say\n")


def test_a_chain_that_was_rewritten_with_its_anchor_is_named(workspace: Workspace, kept: Path) -> None:
    add(workspace, 5)
    run_audit("checkpoint")
    rewrite(workspace, 9)
    assert run_audit("verify")[0] == 0
    status, _, err = run_audit("verify", "--against", str(kept))
    assert (status, f"workspace {workspace.id}, entry 6: the chain was rewritten" in err) == (1, True)


def test_a_chain_that_was_cut_off_with_its_anchor_is_named(workspace: Workspace, kept: Path) -> None:
    add(workspace, 5)
    run_audit("checkpoint")
    rewrite(workspace, 2)
    assert run_audit("verify")[0] == 0
    status, _, err = run_audit("verify", "--against", str(kept))
    assert (status, f"workspace {workspace.id}, entry 6: the chain was cut off: it ends at 2" in err) == (1, True)


def test_an_altered_entry_is_found_whatever_the_checkpoints_say(workspace: Workspace, kept: Path) -> None:
    add(workspace, 2)
    run_audit("checkpoint")
    AuditEntry.objects.filter(seq=2).update(actor="nobody")
    status, _, err = run_audit("verify", "--against", str(kept))
    assert (status, "entry 2: this entry was altered" in err) == (1, True)


def test_a_checkpoint_that_was_altered_or_is_somebody_elses_is_named(
    workspace: Workspace, kept: Path, settings: Settings
) -> None:
    run_audit("checkpoint")
    mine = kept.read_text()
    kept.write_text(mine.replace('"seq":1', '"seq":2') + "rubbish\n[]\n")
    _, _, err = run_audit("verify", "--against", str(kept))
    assert "line 1: this checkpoint was altered" in err
    assert "line 2: this is not a checkpoint" in err
    assert "line 3: this is not a checkpoint" in err
    kept.write_text(mine)
    _, key, _ = run_audit("key")
    settings.SECRET_KEY = "another secret key " * 4
    assert "signed with another key" in str(checkpoints.verify_against([mine]))
    assert checkpoints.verify_against([mine], key=key.strip()) == []


def test_a_workspaces_checkpoint_outlives_its_entries(workspace: Workspace, kept: Path) -> None:
    run_audit("checkpoint")
    AuditEntry.objects.all().delete()
    AuditHead.objects.all().delete()
    Workspace.objects.all().delete()
    assert run_audit("verify")[0] == 0
    assert "it ends at 0" in run_audit("verify", "--against", str(kept))[2]


def test_an_altered_anchor_is_not_signed(workspace: Workspace, kept: Path) -> None:
    AuditHead.objects.update(hash="0" * 64)
    run_audit("checkpoint")
    assert kept.read_text() == ""


def test_without_a_place_they_go_to_the_screen_and_the_schedule_does_nothing(workspace: Workspace) -> None:
    _, out, _ = run_audit("checkpoint")
    assert checkpoints.verify_against(out.splitlines()) == []
    assert json.loads(out)["workspace"] == str(workspace.id)
    assert write_checkpoints() == 0


@pytest.mark.parametrize("words", [("verify", "--against", "/nowhere/at/all"), ("verify", "--key", "x")])
def test_what_cannot_be_read_is_said(workspace: Workspace, kept: Path, words: tuple[str, ...]) -> None:
    kept.write_text("")
    against = () if "--against" in words else ("--against", str(kept))
    status, _, err = run_audit(*words, *against)
    assert (status, err.startswith("atom: ")) == (1, True)


def test_a_place_that_cannot_be_written_is_said(workspace: Workspace, settings: Settings) -> None:
    settings.ATOM_AUDIT_CHECKPOINTS = "/nowhere/at/all"
    assert run_audit("checkpoint")[2] == "atom: /nowhere/at/all cannot be written (No such file or directory).\n"


class Webhook(ThreadingHTTPServer):
    """Takes checkpoints, after it has refused some."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Take)
        self.refusing = 0
        self.bodies: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/"


class _Take(BaseHTTPRequestHandler):
    server: Webhook

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.refusing -= 1
        if self.server.refusing < 0:
            self.server.bodies.append(body)
        self.send_response(204 if self.server.refusing < 0 else 503)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def webhook(settings: Settings) -> Iterator[Webhook]:
    with Webhook() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        settings.ATOM_AUDIT_CHECKPOINTS = server.url
        yield server
        server.shutdown()
        thread.join()


def test_a_webhook_is_tried_again_and_gets_what_verifies(
    workspace: Workspace, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "RETRY_AFTER_S", (SMALLEST, SMALLEST))
    webhook.refusing = 2
    assert write_checkpoints() == 1
    [body] = webhook.bodies
    assert checkpoints.verify_against(body.splitlines()) == []


def test_a_webhook_that_never_takes_them_is_said(
    workspace: Workspace, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "RETRY_AFTER_S", (SMALLEST,))
    webhook.refusing = 9
    assert "it answered 503" in run_audit("checkpoint")[2]


def test_a_webhook_inside_the_network_is_refused_unless_it_is_allowed(
    workspace: Workspace, webhook: Webhook, settings: Settings
) -> None:
    settings.ATOM_ALLOWED_TOOL_HOSTS = []
    assert "not a public address" in run_audit("checkpoint")[2]
    assert webhook.bodies == []


# --- Filters and export -----------------------------------------------------------------------------------
def events_of(client: APIClient, **wanted: str) -> list[str]:
    answer = client.get("/api/audit/", wanted)
    assert answer.status_code == 200, answer.json()
    return [row["event"] for row in answer.json()["results"]]


def test_the_list_is_filtered_by_agent_event_time_and_anything_s_id(
    api: API, alice: Principal, make_agent: Callable[..., Agent]
) -> None:
    one, other = make_agent("one"), make_agent("one-more")
    set_status(agent=other, status="paused", reason='said "agent":"one"', by="alice")
    client = api(alice)
    assert events_of(client, agent="one") == ["agent.created"]
    assert events_of(client, agent="one-more") == ["agent.paused", "agent.created"]
    assert events_of(client, agent=str(one.id)) == ["agent.created"]
    assert events_of(client, id=str(other.id)) == ["agent.paused", "agent.created"]
    assert events_of(client, event="agent.paused") == ["agent.paused"]
    paused = AuditEntry.objects.get(event="agent.paused")
    assert events_of(client, id=str(paused.id)) == ["agent.paused"]
    assert "agent.created" not in events_of(client, since=paused.at.isoformat())
    assert "agent.paused" not in events_of(client, until=paused.at.isoformat())


@pytest.mark.parametrize("wanted", [{"since": "yesterday"}, {"id": "7"}])
def test_a_filter_that_is_none_is_a_400(api: API, alice: Principal, wanted: dict[str, str]) -> None:
    assert api(alice).get("/api/audit/", wanted).status_code == 400


@pytest.mark.django_db(transaction=True)
def test_the_export_is_complete_and_its_chain_can_be_checked_without_atom(
    server: str, workspace: Workspace, alice: Principal, carol: Principal, token_of: Callable[[Principal], str]
) -> None:
    add(workspace, 2 * trail.BATCH + 7)
    headers = bearer(token_of(alice))
    with httpx.Client(base_url=server, trust_env=False) as client:
        rows = [json.loads(line) for line in client.get("/api/audit/export/", headers=headers).text.splitlines()]
        assert client.get("/api/audit/export/", headers=bearer(token_of(carol))).status_code == 403
        some = client.get("/api/audit/export/?event=member.added", headers=headers).text
    previous = audit.GENESIS
    for number, row in enumerate(rows, start=1):
        assert (row["seq"], row["hash"]) == (number, audit.entry_hash(previous, row["entry"]))
        previous = row["hash"]
    assert len(rows) > 2 * trail.BATCH
    assert [json.loads(json.loads(line)["entry"])["event"] for line in some.splitlines()] == ["member.added"]


@pytest.mark.django_db(transaction=True)
def test_mallory_exports_her_own_trail_only(
    server: str, alice: Principal, mallory: Principal, token_of: Callable[[Principal], str]
) -> None:
    answer = httpx.get(f"{server}/api/audit/export/", headers=bearer(token_of(mallory)), trust_env=False)
    assert {json.loads(line)["workspace"] for line in answer.text.splitlines()} == {str(mallory.workspace_id)}


def test_the_command_exports_all_workspaces_or_one(alice: Principal, mallory: Principal) -> None:
    _, everything, _ = run_audit("export")
    assert len(everything.splitlines()) == AuditEntry.objects.count()
    _, hers, _ = run_audit("export", "--workspace", str(mallory.workspace_id))
    assert {json.loads(line)["workspace"] for line in hers.splitlines()} == {str(mallory.workspace_id)}


def test_the_export_never_holds_more_than_a_batch(workspace: Workspace) -> None:
    add(workspace, trail.BATCH + 1)
    entries = AuditEntry.objects.filter(workspace=workspace)
    assert [text.count("\n") for text in trail.batches(entries)] == [trail.BATCH, 2]
