"""Atom's settings for the tests: a throw-away home, no store but the tests' own, quick passwords."""

import os
import tempfile
from pathlib import Path

os.environ["ATOM_HOME"] = tempfile.mkdtemp(prefix="atom-tests-")
os.environ.setdefault("REDIS_URL", "redis://127.0.0.1:1/0")
for name in [name for name in os.environ if name.endswith(("_API_KEY", "_BASE_URL"))]:
    del os.environ[name]

from atom.settings import *  # noqa: E402, F403  # a settings file extends the other by taking all of it
from atom.settings import DATABASES  # noqa: E402  # the environment above must be set first

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    # In a file, not in memory: the doors under test use several threads, each with its own connection.
    DATABASES["default"]["TEST"] = {"NAME": str(Path(os.environ["ATOM_HOME"]) / "test.sqlite3")}
    DATABASES["default"]["OPTIONS"]["init_command"] = "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;"
else:
    # The races start 32 at once, each with a connection of its own.
    DATABASES["default"]["OPTIONS"]["pool"]["max_size"] = 64
CELERY_BROKER_URL = os.environ["REDIS_URL"]
ATOM_ALLOWED_PROVIDER_HOSTS = ["127.0.0.1"]
ATOM_ALLOWED_TOOL_HOSTS = ["127.0.0.1"]
ALLOWED_HOSTS = ["127.0.0.1", "localhost", "testserver"]
# Tests look at rows right after the answer; those of the journal switch it on.
ATOM_JOURNAL = False
