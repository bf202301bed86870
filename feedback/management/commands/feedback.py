"""`manage.py feedback recount [--repair]`: prove the hourly sums equal to the rows, or make them so."""

import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from feedback.rollups import recount


class Command(BaseCommand):
    help = "Compare the hourly sums of feedback with the rows behind them."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("verb", choices=["recount"])
        parser.add_argument("--repair", action="store_true", help="make wrong sums again")

    def handle(self, *args: Any, repair: bool = False, **options: Any) -> None:
        wrong = recount(repair=repair)
        for difference in wrong:
            self.stdout.write(f"agent {difference.agent_id}, {difference.hour:%Y-%m-%d %H}h: sums differ")
        self.stdout.write(f"{len(wrong)} hours differed" + (", repaired" if repair and wrong else ""))
        if wrong and not repair:
            sys.exit(1)
