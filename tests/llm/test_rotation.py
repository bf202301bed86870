"""`manage.py rotate_keys`: all stored secrets under the newest key, while Atom serves."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.core.management import call_command
from pytest_django import Settings

from atom.ground.home import new_encryption_key
from atom.ground.models import AuditEntry, Workspace
from atom.ground.principal import Principal
from llm import keyring, sealing
from llm.models import ProviderKey
from llm.rotation import SealedTable, rotate
from llm.services import create_key, update_key
from tests.simulators.openai import OpenAISimulator

ROOT = Path(__file__).resolve().parents[2]


def key_of(workspace: Workspace, name: str = "main", **given: Any) -> ProviderKey:
    values = {"provider": "openai", "secret": f"sk-secret-of-{name}", "by": "test", **given}
    return create_key(workspace_id=workspace.id, name=name, **values)


def run(*options: str) -> tuple[int, str, str]:
    """Exit status, standard output, standard error."""
    out, err = StringIO(), StringIO()
    try:
        call_command("rotate_keys", *options, stdout=out, stderr=err)
    except SystemExit as exc:
        return int(str(exc.code)), out.getvalue(), err.getvalue()
    return 0, out.getvalue(), err.getvalue()


def with_a_new_key(settings: Settings) -> None:
    settings.ATOM_ENCRYPTION_KEYS = (new_encryption_key(), *settings.ATOM_ENCRYPTION_KEYS)


def is_current(key: ProviderKey) -> bool:
    key.refresh_from_db()
    return sealing.is_current(bytes(key.sealed))


def test_after_the_rotation_the_old_key_can_go(workspace: Workspace, settings: Settings) -> None:
    keys = [key_of(workspace, name) for name in ("one", "two")]
    with_a_new_key(settings)
    status, out, err = run()
    assert (status, out) == (0, "2 resealed, 0 already under the newest key, 0 do not open\n")
    assert "looked at 2/2" in err
    settings.ATOM_ENCRYPTION_KEYS = settings.ATOM_ENCRYPTION_KEYS[:1]
    for key in keys:
        key.refresh_from_db()
        assert key.secret() == f"sk-secret-of-{key.name}"


def test_a_second_rotation_finds_nothing_to_do(workspace: Workspace, settings: Settings) -> None:
    key = key_of(workspace)
    with_a_new_key(settings)
    run()
    key.refresh_from_db()
    sealed = bytes(key.sealed)
    assert run()[1] == "0 resealed, 1 already under the newest key, 0 do not open\n"
    key.refresh_from_db()
    assert bytes(key.sealed) == sealed


def test_a_dry_run_says_what_would_happen_and_changes_nothing(workspace: Workspace, settings: Settings) -> None:
    key = key_of(workspace)
    with_a_new_key(settings)
    assert run("--dry-run")[:2] == (0, "1 to reseal, 0 already under the newest key, 0 do not open\n")
    assert not is_current(key)
    assert not AuditEntry.objects.filter(event="provider_key.resealed").exists()


def test_what_does_not_open_is_named_and_the_rest_resealed(workspace: Workspace, settings: Settings) -> None:
    lost = key_of(workspace, "lost")
    settings.ATOM_ENCRYPTION_KEYS = (new_encryption_key(),)
    good = key_of(workspace, "good")
    with_a_new_key(settings)
    status, out, err = run()
    assert (status, out) == (1, "1 resealed, 0 already under the newest key, 1 do not open\n")
    assert str(lost.id) in err
    assert "openai: lost" in err
    assert "secret-of" not in out + err
    assert is_current(good)


def test_a_row_that_was_altered_under_the_newest_key_is_named_too(workspace: Workspace) -> None:
    key = key_of(workspace)
    ProviderKey.objects.filter(pk=key.pk).update(sealed=bytes(key.sealed)[:-1] + b"\0\0")
    status, _, err = run()
    assert status == 1
    assert "altered" in err


def test_each_resealed_key_leaves_its_audit_entry(workspace: Workspace, settings: Settings) -> None:
    key = key_of(workspace)
    with_a_new_key(settings)
    run()
    entry = AuditEntry.objects.get(event="provider_key.resealed")
    assert (entry.workspace_id, entry.actor) == (workspace.id, "manage.py rotate_keys")
    assert str(key.id) in entry.entry
    assert "secret-of" not in entry.entry


def test_an_interrupted_rotation_is_finished_by_the_next(workspace: Workspace, settings: Settings) -> None:
    keys = [key_of(workspace, name) for name in ("one", "two", "three")]
    with_a_new_key(settings)

    def told(done: int, total: int) -> None:
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rotate(by="test", told=told)
    assert sorted(map(is_current, keys)) == [False, False, True]
    assert run()[1] == "2 resealed, 1 already under the newest key, 0 do not open\n"
    assert [key.secret() for key in ProviderKey.objects.order_by("name")] == [
        "sk-secret-of-one", "sk-secret-of-three", "sk-secret-of-two",
    ]  # fmt: skip


def test_a_secret_that_is_entered_meanwhile_is_not_overwritten(workspace: Workspace, settings: Settings) -> None:
    key = key_of(workspace)
    with_a_new_key(settings)
    ring = settings.ATOM_ENCRYPTION_KEYS

    def bound_to(row: ProviderKey) -> str:
        # Between the rotation's look at the row and its write; by a process that has not been restarted yet.
        if ProviderKey.objects.get(pk=row.pk).hint == "main":
            settings.ATOM_ENCRYPTION_KEYS = ring[1:]
            update_key(key=ProviderKey.objects.get(pk=row.pk), by="test", secret="sk-entered-meanwhile")
            settings.ATOM_ENCRYPTION_KEYS = ring
        return row.provider

    report = rotate(by="test", tables=[SealedTable("provider_key", ProviderKey, "sealed", bound_to)])
    assert report.resealed == 1
    key.refresh_from_db()
    assert key.secret() == "sk-entered-meanwhile"
    assert is_current(key)


def test_a_key_that_is_removed_meanwhile_is_no_trouble(workspace: Workspace, settings: Settings) -> None:
    key_of(workspace, "one")
    key_of(workspace, "two")
    with_a_new_key(settings)

    def told(done: int, total: int) -> None:
        if done == 0:
            ProviderKey.objects.filter(name="two").delete()

    report = rotate(by="test", told=told)
    assert (report.resealed, report.shut) == (1, [])


def test_a_key_that_comes_meanwhile_under_the_old_key_is_resealed_too(workspace: Workspace, settings: Settings) -> None:
    key_of(workspace, "one")
    with_a_new_key(settings)
    ring = settings.ATOM_ENCRYPTION_KEYS

    def told(done: int, total: int) -> None:
        if done == 1 and not ProviderKey.objects.filter(name="two").exists():
            settings.ATOM_ENCRYPTION_KEYS = ring[1:]
            key_of(workspace, "two")
            settings.ATOM_ENCRYPTION_KEYS = ring

    assert rotate(by="test", told=told).resealed == 2
    assert all(map(is_current, ProviderKey.objects.all()))


def test_an_unusable_ring_is_said_so(workspace: Workspace, settings: Settings) -> None:
    key_of(workspace)
    settings.ATOM_ENCRYPTION_KEYS = ("not base64",)
    status, _, err = run()
    assert (status, "ATOM_ENCRYPTION_KEYS must" in err) == (1, True)


@pytest.mark.django_db(transaction=True)
def test_calls_succeed_before_while_and_after_the_keys_are_rotated(
    server: str,
    workspace: Workspace,
    alice: Principal,
    token_of: Callable[[Principal], str],
    openai_simulator: OpenAISimulator,
    monkeypatch: pytest.MonkeyPatch,
    settings: Settings,
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    for place in range(20):
        key_of(workspace, f"key-{place}", base_url=openai_simulator.base_url)
    with_a_new_key(settings)
    token, statuses, is_over = token_of(alice), [], threading.Event()
    body = {"model": "openai/gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]}

    def ask() -> None:
        with httpx.Client(timeout=30, headers={"Authorization": f"Bearer {token}"}) as client:
            while True:
                # Asked at least once more after the rotation.
                was_over = is_over.is_set()
                # No second's memory of the keys: each call reads the rows as they are now.
                keyring.forget(workspace.id)
                statuses.append(client.post(f"{server}/v1/chat/completions", json=body).status_code)
                if was_over:
                    return

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        report = rotate(by="test")
    finally:
        is_over.set()
        thread.join()
    assert report.resealed == 20
    assert set(statuses) == {200}
    settings.ATOM_ENCRYPTION_KEYS = settings.ATOM_ENCRYPTION_KEYS[:1]
    keyring.forget(workspace.id)
    assert httpx.post(
        f"{server}/v1/chat/completions", json=body, headers={"Authorization": f"Bearer {token}"}, timeout=30
    ).is_success


def test_the_command_finds_the_database_of_its_atom_home(tmp_path: Path) -> None:
    """As a person runs it beside `make up`: another process, told nothing but ATOM_HOME."""
    kept = ("DATABASE_URL", "ATOM_ENCRYPTION_KEYS", "ATOM_SECRET_KEY", "DJANGO_SETTINGS_MODULE")
    environment = {name: value for name, value in os.environ.items() if name not in kept}
    environment |= {"ATOM_HOME": str(tmp_path)}

    def manage(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "manage.py", *words]
        return subprocess.run(
            command, check=False, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
        )

    assert manage("migrate", "--verbosity", "0").returncode == 0
    done = manage("rotate_keys")
    assert (done.returncode, done.stdout) == (0, "0 resealed, 0 already under the newest key, 0 do not open\n")
    assert (tmp_path / "secrets.json").is_file()
