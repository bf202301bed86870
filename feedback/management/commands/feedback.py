"""`manage.py feedback recount [--check]`: compare the sums with the rows behind them, and repair them."""

import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from feedback.rollups import recount


class Command(BaseCommand):
    help = "Compare the sums of feedback by hour and day with the rows behind them."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("verb", choices=["recount"])
        parser.add_argument("--check", action="store_true", help="repair nothing; exit 1 where sums differ")

    def handle(self, *args: Any, check: bool = False, **options: Any) -> None:
        wrong = recount(repair=not check)
        for difference in wrong:
            when = f"{difference.start:%Y-%m-%d}" if difference.is_day else f"{difference.start:%Y-%m-%d %H}h"
            self.stdout.write(f"agent {difference.agent_id}, {when}: sums differ")
        self.stdout.write(f"{len(wrong)} hours and days differed" + (", repaired" if wrong and not check else ""))
        if wrong and check:
            sys.exit(1)
