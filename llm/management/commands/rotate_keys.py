"""`manage.py rotate_keys`: reseal all stored secrets under the first key of ATOM_ENCRYPTION_KEYS."""

import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand
from django.db import DatabaseError

from atom.ground.terminal import ProgressLine
from llm.rotation import Report, rotate
from llm.sealing import BadKeyRing

INTERRUPTED_STATUS = 130


class Command(BaseCommand):
    help = (
        "Reseal every stored secret under the first key of ATOM_ENCRYPTION_KEYS, while Atom serves. Run it again "
        "whenever you like; exit status 1 when a secret could not be opened."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="say what would happen, and change nothing")

    def handle(self, *args: Any, dry_run: bool = False, **options: Any) -> None:
        line = ProgressLine(self.stderr, "looked at")
        try:
            report = rotate(by="manage.py rotate_keys", dry_run=dry_run, told=line.show)
        except KeyboardInterrupt:
            self.stderr.write("\natom: interrupted. What was resealed stays so; run it again for the rest.")
            sys.exit(INTERRUPTED_STATUS)
        except BadKeyRing as exc:
            self.stderr.write(f"atom: {exc.message}")
            sys.exit(1)
        except DatabaseError as exc:
            self.stderr.write(f"atom: the keys cannot be read ({type(exc).__name__}). Run `manage.py doctor`.")
            sys.exit(1)
        self._tell(report, "to reseal" if dry_run else "resealed")
        if report.shut:
            sys.exit(1)

    def _tell(self, report: Report, word: str) -> None:
        self.stdout.write(
            f"{report.resealed} {word}, {report.current} already under the newest key, {len(report.shut)} do not open"
        )
        for row in report.shut:
            self.stderr.write(f"{row.kind} {row.id} '{row.name}' of workspace {row.workspace_id}: {row.why}")
        if report.shut:
            self.stderr.write(
                "Put the key that sealed them back at the end of ATOM_ENCRYPTION_KEYS, or enter these secrets again."
            )
