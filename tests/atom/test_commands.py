"""`manage.py audit verify` and `manage.py seed`."""

import json
import stat
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command
from pytest_django import Settings

from agents.models import Agent
from atom.ground import audit
from atom.ground.models import AccessToken, AuditEntry, User, Workspace


@pytest.fixture
def home(settings: Settings, tmp_path: Path) -> Path:
    settings.CREDENTIALS_FILE = tmp_path / "credentials.json"
    return tmp_path


def verify() -> tuple[int, str, str]:
    """Exit status, standard output, standard error."""
    out, err = StringIO(), StringIO()
    try:
        call_command("audit", "verify", stdout=out, stderr=err)
    except SystemExit as exc:
        return int(str(exc.code)), out.getvalue(), err.getvalue()
    return 0, out.getvalue(), err.getvalue()


def test_a_whole_audit_trail_is_status_0(workspace: Workspace) -> None:
    status, out, _ = verify()
    assert (status, out.startswith("whole: ")) == (0, True)


def test_an_altered_entry_is_named(workspace: Workspace) -> None:
    audit.append(workspace_id=workspace.id, actor="test", event="thing.done", details={"amount": 5})
    seq = AuditEntry.objects.filter(event="thing.done").values_list("seq", flat=True).get()
    AuditEntry.objects.filter(event="thing.done").update(entry="{}")
    assert verify() == (1, "", f"workspace {workspace.id}, entry {seq}: this entry was altered\n")


def test_a_first_run_makes_an_agent_of_each_maturity(db: None, home: Path) -> None:
    call_command("seed", stdout=StringIO())
    agents = dict(Agent.objects.exclude(slug="direct").values_list("slug", "maturity"))
    assert agents == {
        "helper": "autonomous",
        "student": "student",
        "intern": "intern",
        "supervised": "supervised",
        "autonomous": "autonomous",
    }


def test_its_credentials_are_the_admins_own(db: None, home: Path) -> None:
    call_command("seed", stdout=StringIO())
    found = json.loads((home / "credentials.json").read_text())
    assert stat.S_IMODE((home / "credentials.json").stat().st_mode) == 0o600
    assert User.objects.get(username=found["admin_username"]).check_password(found["admin_password"])
    assert AccessToken.objects.get().prefix == found["access_token"][:12]


def test_a_second_seed_does_nothing(db: None, home: Path) -> None:
    call_command("seed", stdout=StringIO())
    before = (home / "credentials.json").read_bytes()
    call_command("seed", stdout=StringIO())
    assert (home / "credentials.json").read_bytes() == before
    assert (User.objects.count(), Workspace.objects.count()) == (1, 1)
