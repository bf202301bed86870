"""`manage.py audit verify | checkpoint | export | key`: the audit trail for operators. Needs the database only."""

import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import DatabaseError

from atom.ground import checkpoints, trail
from atom.ground.audit import verify_all
from atom.ground.errors import AtomError
from atom.ground.models import AuditEntry, Workspace

HELP = """verify: prove every workspace's chain whole (exit status 0), or name what is wrong (1);
checkpoint: sign where every chain stands, to ATOM_AUDIT_CHECKPOINTS, or without it to the screen;
export: all entries as JSON lines; key: the public key that proves the checkpoints."""


class Command(BaseCommand):
    help = HELP

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("what", choices=["verify", "checkpoint", "export", "key"])
        parser.add_argument("--against", metavar="FILE", type=Path, help="verify: checkpoints that were kept elsewhere")
        parser.add_argument("--key", default="", help="verify: the public key of then, if the secret key was changed")
        parser.add_argument("--workspace", type=UUID, help="export: this workspace only")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            match options["what"]:
                case "verify":
                    self._verify(options["against"], options["key"])
                case "checkpoint":
                    self._checkpoint()
                case "export":
                    self._export(options["workspace"])
                case "key":
                    self.stdout.write(checkpoints.public_key())
        except DatabaseError as exc:
            self._fail(f"atom: the audit trail cannot be read ({type(exc).__name__}). Run `manage.py doctor`.")
        except OSError as exc:
            self._fail(f"atom: {exc.filename} cannot be read ({exc.strerror}).")
        except AtomError as exc:
            self._fail(f"atom: {exc.message}")

    def _verify(self, against: Path | None, key: str) -> None:
        problems = [f"workspace {found.workspace_id}, entry {found.seq}: {found.problem}" for found in verify_all()]
        entries, compared = AuditEntry.objects.count(), ""
        if against is not None:
            with against.open(encoding="utf-8", errors="replace") as lines:
                kept = [line for line in lines if line.strip()]
            problems += checkpoints.verify_against(kept, key=key)
            compared = f", as {len(kept)} checkpoints say"
        if problems:
            self._fail("\n".join(problems))
        self.stdout.write(f"whole: {entries} entries{compared}")

    def _checkpoint(self) -> None:
        lines = checkpoints.signed_lines()
        if not settings.ATOM_AUDIT_CHECKPOINTS:
            self.stdout.write("\n".join(lines))
            return
        checkpoints.deliver(lines)
        self.stderr.write(f"{len(lines)} chains signed")

    def _export(self, workspace_id: UUID | None) -> None:
        workspaces = Workspace.objects.order_by("pk").values_list("pk", flat=True)
        for one in workspaces.filter(pk=workspace_id) if workspace_id else workspaces:
            for text in trail.batches(AuditEntry.objects.filter(workspace_id=one)):
                self.stdout.write(text, ending="")

    def _fail(self, text: str) -> None:
        self.stderr.write(text)
        sys.exit(1)
