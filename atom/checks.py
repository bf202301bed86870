"""What must be right before Atom starts: `up`, `serve` and every other command refuse on an error here."""

import base64
import binascii
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register  # noqa: A004  # Django's name for it
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

SECRET_KEY_LEAST_CHARS = 50
ENCRYPTION_KEY_BYTES = 32
MAKE_SIGNING_KEY = "python -c 'import secrets; print(secrets.token_urlsafe(64))'"
MAKE_KEY = "python -c 'import base64, os; print(base64.b64encode(os.urandom(32)).decode())'"

Found = list[CheckMessage]
Check = Callable[..., Found]


def in_production(check: Callable[[], Found]) -> Check:
    """Register a check that has nothing to say about a laptop."""

    def guarded(**_: Any) -> Found:
        return check() if settings.PRODUCTION else []

    return register(guarded, Tags.security)


@in_production
def no_debug() -> Found:
    if not settings.DEBUG:
        return []
    return [Error("Debugging is on in production.", hint="Take ATOM_DEBUG out.", id="atom.E001")]


@in_production
def secret_key_is_given() -> Found:
    try:
        key: str = settings.SECRET_KEY
    except ImproperlyConfigured:
        key = ""
    if len(key) >= SECRET_KEY_LEAST_CHARS and len(set(key)) > 4:
        return []
    problem = "ATOM_SECRET_KEY is too short or too regular." if key else "ATOM_SECRET_KEY is missing."
    hint = f"Set it to at least {SECRET_KEY_LEAST_CHARS} random characters: {MAKE_SIGNING_KEY}"
    return [Error(problem, hint=hint, id="atom.E002")]


@in_production
def encryption_keys_are_given() -> Found:
    if settings.ATOM_ENCRYPTION_KEYS:
        return []
    hint = f"Set it to base64 of {ENCRYPTION_KEY_BYTES} random bytes: {MAKE_KEY}"
    return [Error("ATOM_ENCRYPTION_KEYS is missing.", hint=hint, id="atom.E003")]


@register(Tags.security)
def encryption_keys_are_usable(**_: Any) -> Found:
    hint = f"Each must be base64 of {ENCRYPTION_KEY_BYTES} bytes: {MAKE_KEY}"
    return [
        Error(f"Key {place} of ATOM_ENCRYPTION_KEYS is not usable.", hint=hint, id="atom.E004")
        for place, text in enumerate(settings.ATOM_ENCRYPTION_KEYS, start=1)
        if not _is_encryption_key(text)
    ]


def _is_encryption_key(text: str) -> bool:
    """Both alphabets of base64 are taken, as `llm.sealing` does."""
    try:
        found = base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError):
        return False
    return len(found) == ENCRYPTION_KEY_BYTES


@in_production
def hosts_are_given() -> Found:
    if settings.ALLOWED_HOSTS:
        return []
    hint = "Set it to the host names under which people reach Atom, separated by commas."
    return [Error("ATOM_ALLOWED_HOSTS is missing.", hint=hint, id="atom.E005")]


@in_production
def public_url_is_https() -> Found:
    url = urlsplit(settings.ATOM_PUBLIC_URL)
    if url.scheme == "https" and url.hostname and url.path in {"", "/"}:
        return []
    problem = "is not an https:// address of a site" if settings.ATOM_PUBLIC_URL else "is missing"
    hint = "Set it to the address in people's browsers, such as https://atom.example.com."
    return [Error(f"ATOM_PUBLIC_URL {problem}.", hint=hint, id="atom.E006")]


@register(Tags.security)
def gate_is_importable(**_: Any) -> Found:
    """Without a gate nothing would be judged."""
    try:
        import_string(settings.AGENT_GATE)
    except ImportError:
        hint = "Name a class by its path, such as governance.gate.PolicyGate."
        return [Error(f"AGENT_GATE={settings.AGENT_GATE!r} cannot be imported.", hint=hint, id="atom.E007")]
    return []


@register
def numbers_make_sense(**_: Any) -> Found:
    found: Found = []
    if not 0 < settings.PORT < 65_536:
        found.append(Error(f"PORT={settings.PORT} is no port.", hint="Choose one from 1 to 65535.", id="atom.E008"))
    if settings.WEB_CONCURRENCY < 1:
        problem = f"WEB_CONCURRENCY={settings.WEB_CONCURRENCY} would serve nothing."
        found.append(Error(problem, hint="Set it to 1 or more.", id="atom.E009"))
    return found


@in_production
def database_is_a_server() -> Found:
    if settings.DATABASES["default"]["ENGINE"] != "django.db.backends.sqlite3":
        return []
    hint = "Set DATABASE_URL=postgres://…"
    return [Warning("SQLite takes one writer at a time: too little for production.", hint=hint, id="atom.W001")]
