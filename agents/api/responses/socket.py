"""`/v1/responses` as a websocket: one response after another, each going on from what was said before.

The socket's memory is only of what its client did not want stored; the rest is gone on from by response id, from any
socket.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings

from agents.api.responses.serializers import ID_PREFIX, CreateResponse
from agents.api.responses.turns import Turn, begin, previous_of, prewarm
from agents.api.responses.writing import Writer
from agents.responses import PreviousResponseNotFound
from atom.ground.api.doors import validated
from atom.ground.api.errors import as_atom_error
from atom.ground.errors import AtomError, BadRequest, Conflict
from atom.ground.sockets import GovernedSocket

log = structlog.get_logger(__name__)

# An answer that later turns go on from; after a failure they go on from before it.
WHOLE = ("completed", "incomplete")
ENDS = frozenset({"response.completed", "response.incomplete", "response.failed"})
# What belongs to one turn only; an append repeats all the rest of the create before it.
OWN = frozenset({"type", "input", "previous_response_id", "generate"})


class ResponseInProgress(Conflict):
    code = "response_in_progress"


@dataclass(slots=True)
class Place:
    """Where the conversation stands: after a stored response, and items that came after it and were not stored."""

    response_id: str = ""
    stored_id: UUID | None = None
    items: list[dict[str, Any]] = field(default_factory=list)


class ResponsesSocket(GovernedSocket):
    """Answers `response.create` and `response.append`; sends the events that the stream over HTTP has."""

    async def opened(self) -> None:
        self.place = Place()
        self.last_create: dict[str, Any] | None = None
        self.task: asyncio.Task[None] | None = None
        self.is_busy = False

    async def closed(self) -> None:
        # The run itself goes on until nobody has asked for it for a while.
        if (task := getattr(self, "task", None)) is not None:
            task.cancel()

    @property
    def most_bytes(self) -> int:
        """A frame may be as large as the body of the same request over HTTP."""
        return int(settings.MAX_BODY_BYTES)

    async def refuse(self, error: AtomError, code: int) -> None:
        await self.send_error(error)
        await self.close(code)

    async def send_error(self, error: AtomError) -> None:
        # Over HTTP a missing response is a 404; here the conversation and the client's idea of it are in conflict.
        status = Conflict.status if isinstance(error, PreviousResponseNotFound) else error.status
        await self.send_json({"type": "error", "status": status, **error.body()})

    async def receive_json(self, frame: dict[str, Any]) -> None:
        match frame.get("type"):
            case "response.create":
                await self._create(frame)
            case "response.append":
                await self._append(frame)
            case _:
                raise BadRequest("The frame's type must be response.create or response.append.", param="type")

    async def _append(self, frame: dict[str, Any]) -> None:
        """The next turn with the settings of the last create."""
        if self.last_create is None:
            raise BadRequest("There is nothing to append to: send response.create first.", param="type")
        if not isinstance(frame.get("input"), list):
            raise BadRequest("input must be a list of items.", param="input")
        await self._create({**self.last_create, "input": frame["input"]})

    async def _create(self, frame: dict[str, Any]) -> None:
        if self.is_busy:
            raise ResponseInProgress("A response is still in progress on this socket.")
        data = validated(CreateResponse(data=frame))
        before = self._place_of(data)
        data["previous_response_id"] = before.response_id or None
        if frame.get("generate") is False:
            writer, items = await prewarm(self.principal, data, previous_id=before.stored_id, before=before.items)
            events = writer.prewarmed()
            self._moved(writer, items, before)
            for event in events:
                await self.send_json(event)
        else:
            turn = await begin(
                self.principal, data, door="responses-ws", previous_id=before.stored_id, before=before.items
            )
            self.is_busy = True
            self.task = asyncio.create_task(self._follow(turn, before))
        self.last_create = {name: value for name, value in frame.items() if name not in OWN}

    def _place_of(self, data: dict[str, Any]) -> Place:
        """What this turn goes on from: the response it names, or else the newest of this socket."""
        given = data.get("previous_response_id")
        if not given or given == self.place.response_id:
            return self.place
        return Place(response_id=given, stored_id=previous_of(data))

    async def _follow(self, turn: Turn, before: Place) -> None:
        try:
            await turn.opened.begin()
            async for event in turn.events():
                if event is None:
                    continue
                if event["type"] in ENDS:
                    # Before the client hears of the end: it may answer it at once with its next create.
                    self._moved(turn.writer, turn.items, before)
                    self.is_busy = False
                await self.send_json(event)
        except Exception as exc:
            error = as_atom_error(exc)
            if type(error) is AtomError:
                log.exception("response_failed", run_id=str(turn.opened.runner.run_id))
            self.is_busy = False
            await self.send_error(error)

    def _moved(self, writer: Writer, items: list[dict[str, Any]], before: Place) -> None:
        """The conversation stands after this response now, unless it failed."""
        if writer.status not in WHOLE:
            return
        response_id = f"{ID_PREFIX}{writer.response_id.hex}"
        if writer.request["store"]:
            self.place = Place(response_id, writer.response_id)
        else:
            self.place = Place(response_id, before.stored_id, [*items, *writer.output])
