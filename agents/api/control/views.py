"""The control plane: `/message`, `/messages`, `/status`, `/events`, and the same sessions under `/agent/…`."""

from typing import Any
from uuid import UUID

import orjson
from django.db import transaction
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from agents import queries, services
from agents.api.control.frames import SessionEvents, later_than
from agents.api.control.serializers import MessageIn, StartIn, message_json, standing_json
from agents.api.sse import sse_response
from agents.models import Agent, Message, QueuedTurn, Run, Session
from agents.runs.closing import cancel_run
from agents.runs.start import ANY_MODEL
from agents.runs.turns import Standing, begin, capability_of, listed_messages, standing_of
from atom.ground.api.doors import door, validated
from atom.ground.api.once import once
from atom.ground.api.parsing import parse_object
from atom.ground.database import in_db
from atom.ground.errors import BadRequest, Conflict, NotFound
from atom.ground.idempotency import Claim, bind
from atom.ground.principal import Principal
from llm.messages import Part, Text

MAX_PAGE, PAGE = 200, 50


def _answer(body: dict[str, Any], status: int = 200) -> HttpResponse:
    return HttpResponse(orjson.dumps(body), status=status, content_type="application/json")


def _id(text: str, what: str) -> UUID:
    """An id that is none of ours looks like one that does not exist."""
    try:
        return UUID(text)
    except ValueError as exc:
        raise NotFound(f"There is no such {what}.") from exc


def _session_asked_for(request: HttpRequest) -> UUID:
    text = request.GET.get("session_id", "")
    if not text:
        raise BadRequest("session_id is missing.", param="session_id")
    return _id(text, "session")


# --- Saying something --------------------------------------------------------------------------------------
@door("POST", scope="chat")
@once()
async def message(request: HttpRequest, principal: Principal, claim: Claim | None) -> HttpResponseBase:
    data = validated(MessageIn(data=parse_object(request.body)))
    capability = capability_of(data.get("capability") or "")
    if claim is not None and claim.bound_to is not None:
        # The turn was begun, and its process died before it had said so.
        return await in_db(_begun_before, claim.bound_to)
    session = await in_db(_find_session, principal, data.get("session_id"), data.get("agent"))
    parts: list[Part] = [Text(data["text"])] if data["text"].strip() else []
    return await _say(principal, session, parts, capability, claim, may_queue=data["queue"])


@door("POST", scope="chat")
@once()
async def start(request: HttpRequest, principal: Principal, claim: Claim | None) -> HttpResponseBase:
    data = validated(StartIn(data=parse_object(request.body)))
    if claim is not None and claim.bound_to is not None:
        return await in_db(_opened_before, principal, claim.bound_to)
    agent = await in_db(queries.get_acting_agent, principal, data["agent"])
    if not data["prompt"].strip():
        session = await in_db(_idle_session, principal, agent, data["model"], claim)
        return _standing_answer(await in_db(standing_of, principal, session.id))
    session = await in_db(services.create_session, agent=agent, principal=principal, model=data["model"])
    return await _say(principal, session, [Text(data["prompt"])], "", claim)


@transaction.atomic
def _idle_session(principal: Principal, agent: Agent, model: str, claim: Claim | None) -> Session:
    """A session in which nothing has been said yet; the key stands for it from here on."""
    session = services.create_session(agent=agent, principal=principal, model=model)
    if claim is not None:
        bind(claim, session.id)
    return session


def _standing_answer(standing: Standing) -> HttpResponse:
    return _answer({**standing_json(standing), "events_url": _events_url(standing.session.id)}, 202)


async def _say(
    principal: Principal,
    session: Session,
    parts: list[Part],
    capability: str,
    claim: Claim | None,
    *,
    may_queue: bool = False,
) -> HttpResponse:
    message_id = await begin(
        principal=principal,
        session=session,
        parts=parts,
        capability=capability,
        may_queue=may_queue,
        claim=claim,
    )
    return await in_db(_begun, session, message_id, capability)


def _find_session(principal: Principal, session_id: str | None, agent: str | None) -> Session:
    """The session to go on with; without one a new one, of the agent or of the one that the token acts as."""
    acting: Agent | None = queries.get_acting_agent(principal, agent) if agent else None
    if not session_id:
        acting = acting or queries.agent_for_model(principal, ANY_MODEL)
        return services.create_session(agent=acting, principal=principal)
    session = queries.get_session(principal, _id(session_id, "session"))
    if acting is not None and session.agent_id != acting.id:
        raise NotFound("There is no such session of this agent.")
    return session


def _begun(session: Session, message_id: UUID, capability: str) -> HttpResponse:
    said = Message.objects.filter(pk=message_id).first() or QueuedTurn.objects.filter(pk=message_id).first()
    if said is None:
        raise Conflict("The queued message was refused: the agent may not answer now.")
    body = {
        "session_id": str(session.id),
        "message_id": str(message_id),
        "status": "running",
        "capability": capability,
        "message_count": listed_messages(session).count(),
        "received_at": said.created_at,
        "events_url": _events_url(session.id),
    }
    return _answer(body, 202)


def _opened_before(principal: Principal, bound_to: UUID) -> HttpResponse:
    """As `_begun_before`, or for a session that was opened without a prompt."""
    if Session.objects.filter(pk=bound_to).exists():
        return _standing_answer(standing_of(principal, bound_to))
    return _begun_before(bound_to)


def _begun_before(bound_to: UUID) -> HttpResponse:
    """The answer for a turn that a key stands for: the run's, or that of a message which was queued."""
    queued = QueuedTurn.objects.select_related("session").filter(pk=bound_to).first()
    if queued is not None:
        return _begun(queued.session, queued.pk, queued.capability)
    run = Run.objects.select_related("session").filter(Q(pk=bound_to) | Q(messages=bound_to)).first()
    if run is None or run.session is None:
        raise NotFound("The conversation of this Idempotency-Key is gone.")
    said = Message.objects.filter(session=run.session, role=Message.Role.USER)
    own = said.filter(run=run).first() or said.filter(created_at__lte=run.created_at).last()
    if own is None:
        raise NotFound("The conversation of this Idempotency-Key is gone.")
    return _begun(run.session, own.pk, run.capability)


def _events_url(session_id: UUID) -> str:
    return f"/events?session_id={session_id}"


# --- Reading --------------------------------------------------------------------------------------------------
@door("GET", scope="chat")
async def messages(request: HttpRequest, principal: Principal) -> HttpResponseBase:
    session_id = _session_asked_for(request)
    return _answer(await in_db(_page, principal, session_id, request.GET.get("after"), request.GET.get("limit")))


def _page(principal: Principal, session_id: UUID, after: str | None, limit: str | None) -> dict[str, Any]:
    standing = standing_of(principal, session_id)
    most = _limit(limit)
    found = list(later_than(standing, _told(standing, after))[: most + 1])
    shown = [message_json(one) for one in found[:most]]
    return {"session_id": str(session_id), "messages": shown, "has_more": len(found) > most}


def _limit(text: str | None) -> int:
    if text is None:
        return PAGE
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= MAX_PAGE:
        raise BadRequest(f"limit is a whole number from 1 to {MAX_PAGE}.", param="limit")
    return int(text)


def _told(standing: Standing, after: str | None) -> Message | None:
    """The message that a cursor names; a cursor of another session is an error."""
    if not after:
        return None
    found = listed_messages(standing.session).filter(pk=_id(after, "message")).first()
    if found is None:
        raise NotFound("There is no such message in this session.")
    return found


@door("GET", scope="chat")
async def status(request: HttpRequest, principal: Principal) -> HttpResponseBase:
    return _answer(standing_json(await in_db(standing_of, principal, _session_asked_for(request))))


@door("GET", scope="chat")
async def session_status(request: HttpRequest, principal: Principal, session_id: str) -> HttpResponseBase:
    return _answer(standing_json(await in_db(standing_of, principal, _id(session_id, "session"))))


@door("GET", scope="chat")
async def events(request: HttpRequest, principal: Principal) -> HttpResponseBase:
    return await _events(request, principal, _session_asked_for(request))


@door("GET", scope="chat")
async def logs(request: HttpRequest, principal: Principal, session_id: str) -> HttpResponseBase:
    return await _events(request, principal, _id(session_id, "session"))


async def _events(request: HttpRequest, principal: Principal, session_id: UUID) -> HttpResponseBase:
    standing = await in_db(standing_of, principal, session_id)
    after = await in_db(_told, standing, request.headers.get("Last-Event-ID"))
    return sse_response(SessionEvents(principal, session_id, after).frames())


# --- Stopping ---------------------------------------------------------------------------------------------------
@door("POST", scope="chat")
@once()
async def stop(request: HttpRequest, principal: Principal, claim: Claim | None, session_id: str) -> HttpResponseBase:
    """Stop what the session does, and forget what waits in its queue."""
    standing = await in_db(standing_of, principal, _id(session_id, "session"))
    await in_db(standing.session.queued_turns.all().delete)
    if standing.run is not None and standing.run.is_open:
        await cancel_run(standing.run)
    return _answer(standing_json(await in_db(standing_of, principal, standing.session.id)), 202)
