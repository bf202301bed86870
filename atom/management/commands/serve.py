"""`manage.py serve`: the web process, as `up` and production start it."""

import asyncio
import socket
import sys
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from atom.supervisor.errors import CannotStart
from atom.supervisor.parts import listen
from atom.supervisor.processes import serve_in_processes
from atom.supervisor.server import serve


class Command(BaseCommand):
    help = "Serve HTTP and websockets on PORT, in WEB_CONCURRENCY processes."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--fd", type=int, help="a listening socket inherited from the parent")

    def handle(self, *args: Any, fd: int | None = None, **options: Any) -> None:
        try:
            listening = socket.socket(fileno=fd) if fd is not None else listen()
        except CannotStart as exc:
            self.stderr.write(str(exc))
            sys.exit(1)
        with listening:
            if fd is None and settings.WEB_CONCURRENCY > 1:
                asyncio.run(serve_in_processes(listening))
            else:
                serve(listening)
