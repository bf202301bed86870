"""`/v1/responses` over HTTP: begin, come back, cancel, delete. The websocket beside it is `socket.py`."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any
from uuid import UUID

import orjson
import structlog
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from drf_spectacular.utils import OpenApiResponse, extend_schema

from agents import responses
from agents.api.answers import approval_asked_for, failure_of, served_headers
from agents.api.keyed import note_outcome
from agents.api.responses.serializers import CreateResponse, response_uuid
from agents.api.responses.shapes import (
    AFTER_ITEM,
    LIMIT,
    ORDER,
    STARTING_AFTER,
    STREAMED,
    DeletedOut,
    InputItemsOut,
    ResponseOut,
)
from agents.api.responses.turns import Asking, Turn, begin, check_cursor, previous_of, replay, resumed
from agents.api.responses.writing import Event
from agents.api.sse import KEEP_ALIVE, sse_response
from agents.models import StoredResponse
from agents.runs.closing import cancel_run
from agents.runs.events import RunEnded
from agents.runs.following import follow
from atom.ground.api.doors import by_method, door, validated
from atom.ground.api.errors import error_response
from atom.ground.api.once import is_joining, once
from atom.ground.api.parsing import parse_object
from atom.ground.api.schema import STREAM
from atom.ground.database import in_db
from atom.ground.errors import AtomError, BadRequest, NotFound
from atom.ground.idempotency import Claim
from atom.ground.models import Scope
from atom.ground.principal import Principal

log = structlog.get_logger(__name__)

# How long the answer to a cancellation may wait for the run's own last word.
CANCEL_S = 5.0
MOST_ITEMS = 100


class UpgradeRequired(BadRequest):
    code = "upgrade_required"
    status = 426


# --- Begin ------------------------------------------------------------------------------------------------
@door("POST", scope=Scope.CHAT)
@once()
@extend_schema(request=CreateResponse, responses={200: ResponseOut, (200, STREAM): str})
async def create(request: HttpRequest, principal: Principal, claim: Claim | None) -> HttpResponseBase:
    data = validated(CreateResponse(data=parse_object(request.body)))
    # Of a run in the background only the beginning is told, which is there at any time.
    asking = Asking(approval_asked_for(request), claim, is_joining(request) or is_told_at_once(data))
    turn = await begin(principal, data, door="responses", previous_id=previous_of(data), asking=asking)
    try:
        response = await answer(turn, data)
    except AtomError as exc:
        response = error_response(exc)
        for name, value in headers_of(turn).items():
            response[name] = value
    if isinstance(response, HttpResponse) and not is_told_at_once(data):
        await note_outcome(claim, turn.opened.runner)
    return response


def is_told_at_once(data: dict[str, Any]) -> bool:
    """Whether the answer is that the run has begun."""
    return bool(data["background"] and not data["stream"])


async def answer(turn: Turn, data: dict[str, Any]) -> HttpResponseBase:
    """The response as it begins in the background, as a stream, or as a whole."""
    if is_told_at_once(data):
        turn.writer.begin()
        return JsonResponse(turn.writer.response(), headers=headers_of(turn))
    await turn.opened.begin()
    if data["stream"]:
        return sse_response(live_frames(turn), headers_of(turn))
    async for told in turn.opened.told():
        if isinstance(told, RunEnded) and (error := failure_of(turn.opened.runner, told)):
            raise error
        if told is not None:
            turn.writer.tell(told)
    return JsonResponse(turn.writer.response(), headers=headers_of(turn))


def headers_of(turn: Turn) -> dict[str, str]:
    warned = {"x-atom-warning": turn.warning} if turn.warning else {}
    return {**served_headers(turn.opened.runner), **warned}


@door("GET", scope=Scope.CHAT)
@extend_schema(responses={426: OpenApiResponse(description="Ask for a websocket upgrade.")})
async def without_upgrade(request: HttpRequest, principal: Principal) -> HttpResponseBase:
    refused = error_response(UpgradeRequired("GET /v1/responses is a websocket: ask for an upgrade."))
    refused["Upgrade"] = "websocket"
    return refused


# --- Streams ----------------------------------------------------------------------------------------------
def frame(event: Event) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (event["type"].encode(), orjson.dumps(event, default=str))


def failure_frame(last: Event) -> bytes:
    """After `response.failed`: the official client raises on an event that carries an `error`, and on no other."""
    said = last["response"]["error"] or {"code": "response_cancelled", "message": "The response was cancelled."}
    number = last["sequence_number"] + 1
    return frame({"type": "error", **said, "param": None, "sequence_number": number, "error": said})


async def frames(events: AsyncIterator[Event | None]) -> AsyncGenerator[bytes, None]:
    async for event in events:
        if event is None:
            yield KEEP_ALIVE
            continue
        yield frame(event)
        if event["type"] == "response.failed":
            yield failure_frame(event)


async def live_frames(turn: Turn) -> AsyncGenerator[bytes, None]:
    async for raw in frames(turn.events()):
        yield raw
    if turn.writer.status == "failed":
        log.warning("stream_incomplete", run_id=str(turn.opened.runner.run_id))


# --- Come back ----------------------------------------------------------------------------------------------
async def stored_response(principal: Principal, response_id: str) -> StoredResponse:
    found = response_uuid(response_id)
    if found is None:
        raise NotFound("There is no such response.")
    return await in_db(responses.get_response, principal, found)


@door("GET", scope=Scope.CHAT)
@extend_schema(parameters=[STREAMED, STARTING_AFTER], responses={200: ResponseOut, (200, STREAM): str})
async def retrieve(request: HttpRequest, principal: Principal, response_id: str) -> HttpResponseBase:
    stored = await stored_response(principal, response_id)
    if request.GET.get("stream") not in ("true", "True", "1"):
        return JsonResponse((await replay(stored)).response(), headers=run_header(stored))
    after = number_of(request, "starting_after", usual=-1, least=0)
    await check_cursor(stored, after)
    return sse_response(frames(resumed(stored, after)), run_header(stored))


@door("DELETE", scope=Scope.CHAT)
@extend_schema(responses={200: DeletedOut})
async def delete(request: HttpRequest, principal: Principal, response_id: str) -> HttpResponseBase:
    stored = await stored_response(principal, response_id)
    await in_db(responses.delete_response, response=stored, by=principal.username)
    return JsonResponse({"id": response_id, "object": "response", "deleted": True})


one = by_method(GET=retrieve, DELETE=delete)
all_of_them = by_method(POST=create, GET=without_upgrade)


@door("POST", scope=Scope.CHAT)
@once()
@extend_schema(request=None, responses={200: ResponseOut})
async def cancel(request: HttpRequest, principal: Principal, claim: Claim | None, response_id: str) -> HttpResponseBase:
    """Stop it; one that has ended already is given as it is."""
    stored = await stored_response(principal, response_id)
    if stored.run is not None and stored.run.is_open:
        await cancel_run(stored.run)
        await until_ended(stored.run.id)
        stored = await stored_response(principal, response_id)
    return JsonResponse((await replay(stored)).response(), headers=run_header(stored))


async def until_ended(run_id: UUID) -> None:
    """Until the run has said its last word; if it takes long, the answer shows it in progress."""
    try:
        async with asyncio.timeout(CANCEL_S):
            async for _ in follow(run_id):
                pass
    except TimeoutError:
        log.warning("cancelled_run_goes_on", run_id=str(run_id))


def run_header(stored: StoredResponse) -> dict[str, str]:
    return {"x-atom-run": str(stored.run_id)} if stored.run_id else {}


@door("GET", scope=Scope.CHAT)
@extend_schema(parameters=[LIMIT, ORDER, AFTER_ITEM], responses={200: InputItemsOut})
async def input_items(request: HttpRequest, principal: Principal, response_id: str) -> HttpResponseBase:
    """The items of this turn's input, newest first unless `order=asc`."""
    stored = await stored_response(principal, response_id)
    limit = number_of(request, "limit", usual=20, least=1, most=MOST_ITEMS)
    order = request.GET.get("order", "desc")
    if order not in ("asc", "desc"):
        raise BadRequest("order must be asc or desc.", param="order")
    items = stored.input if order == "asc" else stored.input[::-1]
    if after := request.GET.get("after"):
        places = [place for place, item in enumerate(items) if item["id"] == after]
        if not places:
            raise BadRequest("after must be the id of one of the items.", param="after")
        items = items[places[0] + 1 :]
    page = items[:limit]
    ends = {"first_id": page[0]["id"] if page else None, "last_id": page[-1]["id"] if page else None}
    return JsonResponse({"object": "list", "data": page, **ends, "has_more": len(items) > limit})


def number_of(request: HttpRequest, name: str, *, usual: int, least: int, most: int = 2**31) -> int:
    """A whole number out of the address."""
    given = request.GET.get(name)
    if given is None:
        return usual
    if not given.isascii() or not given.isdigit() or not least <= int(given) <= most:
        raise BadRequest(f"{name} must be a whole number from {least} on.", param=name)
    return int(given)
