"""The server's end of a websocket, with a word for readers who are too slow."""

from asyncio import TimerHandle

from django.conf import settings
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

SLOW_READER = 1013
# A connection whose reader never takes the goodbye is cut after this.
LINGER_S = 60.0


class Socket(WebSocketsSansIOProtocol):
    """Closes with 1013 when its reader has taken nothing for `SLOW_READER_S` while there was something to take.

    Here and not in a consumer, because what a consumer sends waits for the reader too. The goodbye stands behind what
    was sent before it, so a reader who comes back knows the last `seq` and can resume after it.
    """

    _slow: TimerHandle | None = None

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._slow is None:
            self._slow = self.loop.call_later(settings.SLOW_READER_S, self._give_up)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def _stop_waiting(self) -> None:
        if self._slow is not None:
            self._slow.cancel()
            self._slow = None

    def _give_up(self) -> None:
        self._slow = None
        if self.close_sent or self.transport.is_closing():
            return
        self.stop_keepalive()
        # The application hears it now, and lets go of what it holds for this reader.
        self.queue.put_nowait({"type": "websocket.disconnect", "code": SLOW_READER, "reason": "slow reader"})
        self.conn.send_close(SLOW_READER, "slow reader")
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self.transport.close()
        self._slow = self.loop.call_later(LINGER_S, self.transport.abort)
