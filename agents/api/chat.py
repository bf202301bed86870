"""`POST /api/agents/{id}/chat/` and `GET /api/runs/{id}/events/`."""

from typing import Any
from uuid import UUID

import orjson
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from drf_spectacular.utils import OpenApiParameter, extend_schema

from agents import queries, services
from agents.api.answers import Opened, Whole, failure_of, served_headers
from agents.api.keyed import earlier_run, note_outcome
from agents.api.serializers import ChatIn, ChatOut, ChatWaitsOut
from agents.api.sse import KEEP_ALIVE, frame, run_frames, sse_response
from agents.models import Agent, Session
from agents.runs.runner import Runner
from agents.runs.start import Attached, start_chat
from agents.runs.streams import last_seq
from atom.ground.api.doors import door, validated
from atom.ground.api.once import is_joining, once
from atom.ground.api.parsing import parse_object
from atom.ground.api.schema import STREAM
from atom.ground.database import in_db
from atom.ground.errors import BadRequest, NotFound
from atom.ground.idempotency import Claim
from atom.ground.principal import Principal
from llm.messages import Image, Part, Text

AFTER = OpenApiParameter("after", int, description="The `seq` to go on after.")
LAST_EVENT_ID = OpenApiParameter("Last-Event-ID", int, OpenApiParameter.HEADER, description="As `after`; before it.")


def find_session(principal: Principal, agent: Agent, session_id: UUID | None) -> Session:
    """The session to go on with, or a new one. A session of another agent is NotFound."""
    if session_id is None:
        return services.create_session(agent=agent, principal=principal)
    session = queries.get_session(principal, session_id)
    if session.agent_id != agent.id:
        raise NotFound("There is no such session of this agent.")
    return session


def parts_of(data: dict[str, Any]) -> list[Part]:
    """The user's message as parts: context, text, images."""
    parts: list[Part] = []
    if data.get("context"):
        context = data["context"]
        told = context if isinstance(context, str) else orjson.dumps(context).decode()
        parts.append(Text(f"Context: {told}"))
    parts.append(Text(data["message"]))
    return [*parts, *(Image(attachment["url"]) for attachment in data["attachments"])]


@door("POST", scope="chat")
@once()
@extend_schema(request=ChatIn, responses={200: ChatOut, (200, STREAM): str, 202: ChatWaitsOut})
async def chat(request: HttpRequest, principal: Principal, claim: Claim | None, agent: str) -> HttpResponseBase:
    data = validated(ChatIn(data=parse_object(request.body)))
    earlier = await earlier_run(claim, is_joining=is_joining(request))
    runner = earlier if isinstance(earlier, Attached) else await _begin(principal, agent, data, claim)
    opened = Opened(runner)
    try:
        await opened.begin(sees_all=True)
        if data["stream"]:
            return sse_response(_frames(opened), served_headers(runner))
        return _answer(runner, await opened.whole(hold=False))
    finally:
        await note_outcome(claim, runner)


async def _begin(principal: Principal, agent: str, data: dict[str, Any], claim: Claim | None) -> Runner:
    found = await in_db(queries.get_acting_agent, principal, agent)
    session = await in_db(find_session, principal, found, data.get("session_id"))
    return await start_chat(
        principal=principal,
        agent=found,
        session=session,
        parts=parts_of(data),
        door="chat",
        model=data.get("model", ""),
        claim=claim,
    )


async def _frames(opened: Opened) -> Any:
    async for recorded in opened.events():
        yield KEEP_ALIVE if recorded is None else frame(recorded)


def _answer(runner: Runner | Attached, answer: Whole) -> HttpResponse:
    body: dict[str, Any] = {"run_id": str(runner.run_id), "session_id": str(runner.session_id)}
    if answer.approval is not None:
        needed = answer.approval
        approval = {
            "id": needed.approval_id,
            "status": "pending",
            "tool": needed.name,
            "reason": needed.reason,
        }
        return JsonResponse({**body, "status": "waiting_approval", "approval": approval}, status=202)
    if answer.ended is None:
        raise RuntimeError("a run's events ended without its end")
    if error := failure_of(runner, answer.ended):
        raise error
    body |= {
        "status": answer.ended.status,
        "message": {"id": answer.ended.message_id, "role": "assistant", "content": answer.text},
        "usage": answer.ended.usage,
        "cost_usd": answer.ended.cost_usd,
        "provider": answer.ended.provider,
        "model": answer.ended.model,
        "attempts": runner.served.attempts,
    }
    return JsonResponse(body, headers=served_headers(runner))


@door("GET", scope="chat")
@extend_schema(parameters=[AFTER, LAST_EVENT_ID], responses={(200, STREAM): str})
async def run_events(request: HttpRequest, principal: Principal, run_id: UUID) -> HttpResponseBase:
    """Follow a run from `?after=` or `Last-Event-ID`; when its window has passed, one `resync` with the message."""
    run = await in_db(queries.get_run, principal, run_id)
    after = cursor_of(request.headers.get("Last-Event-ID") or request.GET.get("after") or "0")
    newest = await last_seq(run.id)
    if newest == 0 and not run.is_open:
        resync = await in_db(resync_of, principal, run_id)
        return sse_response(_one(b"event: resync\ndata: " + orjson.dumps(resync) + b"\n\n"))
    if after > newest:
        raise BadRequest("The cursor is later than any event of this run.", param="after")
    return sse_response(run_frames(run.id, after))


async def _one(frame_bytes: bytes) -> Any:
    yield frame_bytes


def cursor_of(text: str) -> int:
    """A cursor is a `seq`: a whole number from 0 on."""
    if not text.isascii() or not text.isdigit() or len(text) > 12:
        raise BadRequest("A cursor is a whole number, 0 or greater.", param="after")
    return int(text)


def resync_of(principal: Principal, run_id: UUID) -> dict[str, Any]:
    """What a client gets whose events are gone: the stored answer and the run's status."""
    run = queries.get_run(principal, run_id)
    answer = queries.answer_of(run)
    return {
        "type": "resync",
        "run_id": str(run.id),
        "status": run.status,
        "message_id": str(answer.id) if answer else None,
        "text": answer.text if answer else "",
    }
