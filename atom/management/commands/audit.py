"""`manage.py audit verify`: prove the audit chains whole. Needs the database only."""

import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand
from django.db import DatabaseError

from atom.ground.audit import verify_all
from atom.ground.models import AuditEntry


class Command(BaseCommand):
    help = "verify: prove every workspace's audit chain whole (exit status 0), or name its first break (1)."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("what", choices=["verify"])

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            breaks, entries = verify_all(), AuditEntry.objects.count()
        except DatabaseError as exc:
            self.stderr.write(f"atom: the audit trail cannot be read ({type(exc).__name__}). Run `manage.py doctor`.")
            sys.exit(1)
        for found in breaks:
            self.stderr.write(f"workspace {found.workspace_id}, entry {found.seq}: {found.problem}")
        if breaks:
            sys.exit(1)
        self.stdout.write(f"whole: {entries} entries")
