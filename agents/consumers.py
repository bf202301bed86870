"""`/ws/chat/`: several runs on one socket; each goes on without it and can be resumed by `seq`."""

import asyncio
from typing import Any
from uuid import UUID

import orjson
import structlog
from rest_framework import serializers

from agents import queries
from agents.api.chat import find_session, parts_of, resync_of
from agents.api.keyed import claimed, earlier_run
from agents.api.serializers import Attachment, check_text
from agents.runs.closing import cancel_run
from agents.runs.following import follow
from agents.runs.runner import Runner
from agents.runs.start import Attached, start_chat
from agents.runs.streams import last_seq
from atom.ground.api.doors import validated
from atom.ground.api.errors import as_atom_error
from atom.ground.database import in_db
from atom.ground.errors import BadRequest
from atom.ground.idempotency import Asked, Claim, asked, key_of
from atom.ground.sockets import GovernedSocket
from llm.messages import Part

log = structlog.get_logger(__name__)

PATH = "/ws/chat/"
IDLE_S = 15.0


class MessageCreate(serializers.Serializer[Any]):
    """A new message for an agent, or for the agent of a session."""

    content = serializers.CharField(allow_blank=True, trim_whitespace=False)
    agent = serializers.CharField(required=False, max_length=60)
    session_id = serializers.UUIDField(required=False, allow_null=True)
    model = serializers.CharField(required=False, allow_blank=True, max_length=200)
    context = serializers.JSONField(required=False)  # type: ignore[assignment]  # DRF's own `context` is a property
    attachments = serializers.ListField(child=Attachment(), default=list, max_length=20)
    idempotency_key = serializers.CharField(required=False, allow_null=True, allow_blank=True, trim_whitespace=False)

    def validate_content(self, content: str) -> str:
        return check_text(content, "content")


class RunResume(serializers.Serializer[Any]):
    run_id = serializers.UUIDField()
    after = serializers.IntegerField(min_value=0, default=0)


class RunCancel(serializers.Serializer[Any]):
    run_id = serializers.UUIDField()


class ChatConsumer(GovernedSocket):
    """Answers `message.create`, `run.resume`, `run.cancel`; sends the runs' events as they stand in the store."""

    async def opened(self) -> None:
        self.following: dict[UUID, asyncio.Task[None]] = {}

    async def closed(self) -> None:
        for task in getattr(self, "following", {}).values():
            task.cancel()

    async def receive_json(self, frame: dict[str, Any]) -> None:
        match frame.get("type"):
            case "message.create":
                wanted = validated(MessageCreate(data=frame))
                async with claimed(self._asked(frame, wanted.get("idempotency_key"))) as claim:
                    await self._create(wanted, claim)
            case "run.resume":
                wanted = validated(RunResume(data=frame))
                await self._resume(wanted["run_id"], wanted["after"])
            case "run.cancel":
                wanted = validated(RunCancel(data=frame))
                await cancel_run(await in_db(queries.get_run, self.principal, wanted["run_id"]))
            case _:
                raise BadRequest("The frame's type must be message.create, run.resume or run.cancel.", param="type")

    def _asked(self, frame: dict[str, Any], key: str | None) -> Asked | None:
        """The frame as far as keys are concerned; None without one."""
        if key is None:
            return None
        said = {name: value for name, value in frame.items() if name != "idempotency_key"}
        return asked(
            self.principal,
            key=key_of(key, param="idempotency_key"),
            method="WEBSOCKET",
            path=PATH,
            query="",
            body=orjson.dumps(said),
        )

    async def _create(self, wanted: dict[str, Any], claim: Claim | None) -> None:
        """Begin the run, or attach to the one that the key began."""
        earlier = await earlier_run(claim, is_joining=True)
        runner = earlier if isinstance(earlier, Attached) else await self._begin(wanted, claim)
        run = await in_db(queries.get_run, self.principal, runner.run_id)
        accepted = {
            "type": "message.accepted",
            "run_id": run.id,
            "session_id": run.session_id,
            "agent": run.agent.slug,
        }
        await self.send_json(accepted)
        if isinstance(runner, Attached) and runner.past:
            for recorded in runner.past:
                await self.send(text_data=recorded.raw.decode())
        else:
            self._follow(run.id, 0)

    async def _begin(self, wanted: dict[str, Any], claim: Claim | None) -> Runner:
        session_id = wanted.get("session_id")
        if session_id is not None and not wanted.get("agent"):
            session = await in_db(queries.get_session, self.principal, session_id)
            agent = session.agent
        elif wanted.get("agent"):
            agent = await in_db(queries.get_acting_agent, self.principal, wanted["agent"])
            session = await in_db(find_session, self.principal, agent, session_id)
        else:
            raise BadRequest("Name an agent or a session_id.", param="agent")
        parts: list[Part] = parts_of({**wanted, "message": wanted["content"]})
        return await start_chat(
            principal=self.principal,
            agent=agent,
            session=session,
            parts=parts,
            door="websocket",
            model=wanted.get("model", ""),
            claim=claim,
        )

    async def _resume(self, run_id: UUID, after: int) -> None:
        run = await in_db(queries.get_run, self.principal, run_id)
        newest = await last_seq(run.id)
        if newest == 0 and not run.is_open:
            return await self.send_json(await in_db(resync_of, self.principal, run_id))
        if after > newest:
            raise BadRequest("The cursor is later than any event of this run.", param="after")
        self._follow(run.id, after)
        return None

    def _follow(self, run_id: UUID, after: int) -> None:
        if (earlier := self.following.pop(run_id, None)) is not None:
            earlier.cancel()
        task = asyncio.create_task(self._send_events(run_id, after))
        self.following[run_id] = task
        task.add_done_callback(lambda done: self.following.get(run_id) is done and self.following.pop(run_id))

    async def _send_events(self, run_id: UUID, after: int) -> None:
        try:
            async for recorded in follow(run_id, after=after, idle_s=IDLE_S):
                if recorded is not None:
                    await self.send(text_data=recorded.raw.decode())
        except Exception as exc:
            log.exception("stream_failed", run_id=str(run_id))
            await self.send_error(as_atom_error(exc))
