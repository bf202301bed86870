"""`manage.py smoke`: does every provider that has a key answer one word?"""

import asyncio
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from typing import Any

from django.core.management.base import BaseCommand
from django.db import DatabaseError

from atom.ground.errors import AtomError
from atom.ground.terminal import ProgressLine
from llm.smoke import NO_KEY, Row, cases, run

HEADINGS = ("PROVIDER", "KEY", "MODEL", "AUTH", "STATUS", "LATENCY", "WHAT IS WRONG")


class Command(BaseCommand):
    help = "Send 'ping' to the cheapest model of each provider that has a key, and show who answered."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--strict", action="store_true", help="exit status 1 unless every key was answered with 2xx"
        )

    def handle(self, *args: Any, strict: bool = False, **options: Any) -> None:
        line = ProgressLine(self.stderr, "asked")
        try:
            found = cases()
        except (DatabaseError, AtomError) as exc:
            self.stderr.write(f"atom: the keys cannot be read ({type(exc).__name__}). Run `manage.py doctor`.")
            sys.exit(1)
        rows = asyncio.run(run(found, line.show))
        for text in table([HEADINGS, *map(cells, rows)]):
            self.stdout.write(text)
        asked = [row for row in rows if row.status != NO_KEY]
        if not asked:
            self.stderr.write("No provider has a key: nothing was asked.")
        if strict and not (asked and all(row.is_good for row in asked)):
            sys.exit(1)


def cells(row: Row) -> tuple[str, ...]:
    latency = "" if row.latency_ms is None else f"{row.latency_ms} ms"
    return row.provider, row.key, row.model, row.auth, row.status, latency, row.error


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Each column as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
