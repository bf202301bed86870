"""ATOM_HOME: the folder that an instance owns, and the secrets that its first run makes there. Pure Python."""

import base64
import contextlib
import json
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Secrets:
    """`secret_key` signs; `encryption_keys` seal provider keys: base64 of 32 bytes each, newest first."""

    secret_key: str = field(repr=False)
    encryption_keys: tuple[str, ...] = field(repr=False)


def write_private(path: Path, content: dict[str, Any]) -> None:
    """Write `content` as JSON, readable by the owner only, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(content, file, indent=2)
        file.write("\n")
    draft.replace(path)


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in `path`, or {} when there is no such file."""
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return found


def new_encryption_key() -> str:
    """A fresh AES-256 key, as it stands in `ATOM_ENCRYPTION_KEYS`."""
    return base64.b64encode(secrets.token_bytes(32)).decode()


def home_secrets(home: Path) -> Secrets:
    """The secrets of this home; made once, by whichever process comes first."""
    path = home / "secrets.json"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".secrets.{os.getpid()}.{secrets.token_hex(4)}")
        write_private(draft, {"secret_key": secrets.token_urlsafe(64), "encryption_keys": [new_encryption_key()]})
        # link() fails where the file exists: the first process wins, and nobody reads half a file.
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(draft)
        draft.unlink()
    kept = read_json(path)
    return Secrets(kept["secret_key"], tuple(kept["encryption_keys"]))
