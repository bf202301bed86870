"""`python -m tests.deploy_check`: Django's and our own deployment checks, in an environment like production's."""

import os
import secrets
import subprocess
import sys
import tempfile
from pathlib import Path

from atom.ground.home import new_encryption_key

MANAGE = str(Path(__file__).resolve().parents[1] / "manage.py")


def production(home: str) -> dict[str, str]:
    """What an operator sets; none of these addresses is ever called."""
    return {
        "ATOM_ENV": "production",
        "ATOM_HOME": home,
        "ATOM_SECRET_KEY": secrets.token_urlsafe(64),
        "ATOM_ENCRYPTION_KEYS": new_encryption_key(),
        "ATOM_ALLOWED_HOSTS": "atom.example.com",
        "ATOM_PUBLIC_URL": "https://atom.example.com",
        "DATABASE_URL": "postgres://atom:atom@db.example.com:5432/atom",
        "REDIS_URL": "redis://store.example.com:6379/0",
    }


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="atom-deploy-") as home:
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        command = [sys.executable, MANAGE, "check", "--deploy", "--fail-level", "WARNING"]
        return subprocess.run(command, env={**kept, **production(home)}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
