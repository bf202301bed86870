"""What Atom refuses to start with."""

import base64

import pytest
from django.core.checks import run_checks
from pytest_django import Settings

from atom.ground.home import new_encryption_key
from atom.settings import database_at


def found() -> set[str]:
    return {message.id for message in run_checks() if message.id and message.id.startswith("atom.")}


@pytest.fixture
def production(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings of a production that has everything."""
    settings.PRODUCTION = True
    settings.DEBUG = False
    settings.SECRET_KEY = "a9fK2-" * 10
    settings.ATOM_ENCRYPTION_KEYS = [new_encryption_key()]
    settings.ALLOWED_HOSTS = ["atom.example.com"]
    settings.ATOM_PUBLIC_URL = "https://atom.example.com"
    # In place: nothing connects, the check reads it only.
    monkeypatch.setitem(settings.DATABASES["default"], "ENGINE", "django.db.backends.postgresql")
    return settings


def test_a_complete_production_passes(production: Settings) -> None:
    assert found() == set()


@pytest.mark.parametrize(
    ("name", "value", "check"),
    [
        ("DEBUG", True, "atom.E001"),
        ("SECRET_KEY", "", "atom.E002"),
        ("SECRET_KEY", "changeme", "atom.E002"),
        ("SECRET_KEY", "a" * 80, "atom.E002"),
        ("ATOM_ENCRYPTION_KEYS", [], "atom.E003"),
        ("ATOM_ENCRYPTION_KEYS", ["not base64"], "atom.E004"),
        ("ATOM_ENCRYPTION_KEYS", [base64.b64encode(b"short").decode()], "atom.E004"),
        ("ALLOWED_HOSTS", [], "atom.E005"),
        ("ATOM_PUBLIC_URL", "", "atom.E006"),
        ("ATOM_PUBLIC_URL", "http://atom.example.com", "atom.E006"),
        ("AGENT_GATE", "", "atom.E007"),
        ("AGENT_GATE", "governance.gate.NoSuchGate", "atom.E007"),
        ("PORT", 70_000, "atom.E008"),
        ("WEB_CONCURRENCY", 0, "atom.E009"),
    ],
)
def test_production_does_not_start_with(production: Settings, name: str, value: object, check: str) -> None:
    setattr(production, name, value)
    assert found() == {check}


def test_each_error_has_a_hint(production: Settings) -> None:
    production.SECRET_KEY, production.ATOM_ENCRYPTION_KEYS, production.AGENT_GATE = "", ["x"], ""
    assert all(message.hint for message in run_checks() if (message.id or "").startswith("atom."))


def test_sqlite_in_production_is_a_warning(production: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(production.DATABASES["default"], "ENGINE", "django.db.backends.sqlite3")
    assert found() == {"atom.W001"}


def test_a_laptop_may_do_without_addresses(settings: Settings) -> None:
    settings.ATOM_PUBLIC_URL = ""
    assert found() == set()


def test_a_database_of_another_kind_is_refused_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "nonsense://somebody:hidden@host/name")
    with pytest.raises(Exception, match="DATABASE_URL") as raised:
        database_at("DATABASE_URL")
    assert "hidden" not in str(raised.value)
