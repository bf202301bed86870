"""The web process: uvicorn, with a moment between *draining* and closing so that load balancers can look away."""

import asyncio
import socket
import time
from types import FrameType

import uvicorn
from django.conf import settings

from atom.ground.draining import do_first_things, start_draining
from atom.supervisor.connections import Connection
from atom.supervisor.sockets import Socket

# `/readyz` says 503 this long while the port still answers.
LOOK_AWAY_S = 2.0
SOCKET_PING_S = 20.0


class Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._close_at: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """First drain, then close; a second signal closes at once."""
        start_draining()
        if self._close_at is None:
            self._close_at = time.monotonic() + LOOK_AWAY_S
        else:
            self.should_exit = self.force_exit = True

    async def on_tick(self, counter: int) -> bool:
        if self._close_at is not None and time.monotonic() >= self._close_at:
            self.should_exit = True
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Runs are ended a little before the connections that wait for them are cut."""
        first_things = asyncio.create_task(do_first_things())
        await super().shutdown(sockets)
        await first_things


def serve(listening: socket.socket) -> None:
    """Serve until a signal has been drained."""
    config = uvicorn.Config(
        "atom.asgi:application",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        http=Connection,
        ws=Socket,
        # Each socket has its own, smaller limit.
        ws_max_size=settings.MAX_BODY_BYTES,
        ws_ping_interval=SOCKET_PING_S,
        ws_ping_timeout=SOCKET_PING_S,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=int(settings.ATOM_DRAIN_TIMEOUT),
    )
    Server(config).run(sockets=[listening])
