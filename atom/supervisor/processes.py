"""`manage.py serve` with several web processes: the same server in each, on one socket."""

import asyncio
import os
import signal
import socket

from atom.supervisor.children import Child
from atom.supervisor.parts import web_parts


async def serve_in_processes(listening: socket.socket) -> None:
    """Keep `WEB_CONCURRENCY` web processes running until SIGTERM or SIGINT, then drain them all at once."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    children = [Child(part) for part in web_parts(os.environ, listening)]
    try:
        for child in children:
            await child.start()
        await stop.wait()
    finally:
        listening.close()
        await asyncio.gather(*(child.stop() for child in children))
