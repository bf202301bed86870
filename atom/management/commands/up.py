"""`manage.py up`: the whole of Atom in one command."""

import asyncio
import logging
import sys
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.db import DatabaseError, connection

from atom.seed import seed
from atom.supervisor.errors import CannotStart
from atom.supervisor.parts import listen
from atom.supervisor.supervisor import Supervisor, home_lock


class Command(BaseCommand):
    help = "Start Atom: database, store, local model, web, worker and beat. Ctrl-C stops it."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            with home_lock(settings.ATOM_HOME), listen() as listening:
                prepare_database()
                asyncio.run(Supervisor(listening, banner=banner()).run())
        except CannotStart as exc:
            self.stderr.write(str(exc))
            sys.exit(1)


def prepare_database() -> None:
    """Migrate, and seed a first run; CannotStart when the database cannot be used."""
    # Its pool tells of every attempt; one line from us is enough.
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)
    try:
        call_command("migrate", verbosity=0, interactive=False)
        seed()
    except DatabaseError as exc:
        raise CannotStart(
            f"the database cannot be used ({type(exc).__name__}).",
            "Correct DATABASE_URL, or leave it out for the embedded SQLite.",
        ) from exc
    finally:
        connection.close()
        # The supervisor itself has no more questions: PostgreSQL need not keep a connection for it.
        getattr(connection, "close_pool", connection.close)()


def banner() -> str:
    url = f"http://127.0.0.1:{settings.PORT}"
    is_off = settings.ATOM_LOCAL_MODEL.strip().lower() == "off"
    model = "off" if is_off else "local/smollm2 (a small demo model: fluent, often wrong)"
    return "\n".join(
        [
            "ready",
            "",
            f"  Atom {settings.ATOM_VERSION}",
            f"  admin        {url}/admin/",
            f"  API          {url}/api/   {url}/v1/",
            f"  credentials  {settings.CREDENTIALS_FILE}",
            f"  local model  {model}",
            "  Ctrl-C stops everything.",
            "",
        ]
    )
