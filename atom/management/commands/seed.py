"""`manage.py seed`: the demo workspace in an empty installation that was not started with `up`."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from atom.seed import seed


class Command(BaseCommand):
    help = "Make the admin, the demo workspace, its agents and a token, unless somebody is here already."

    def handle(self, *args: Any, **options: Any) -> None:
        if seed():
            self.stdout.write(f"seeded: the credentials are in {settings.CREDENTIALS_FILE}")
        else:
            self.stdout.write("nothing to do: there is somebody here already")
