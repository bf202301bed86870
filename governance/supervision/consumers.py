"""`/ws/supervise/`: the workspace's runs as they go on, for operators, who may step into them."""

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import structlog
from redis.exceptions import RedisError
from rest_framework import serializers

from agents import queries as agents
from agents.models import Maturity
from agents.runs.following import follow
from agents.runs.live import topic_of
from atom.ground import news
from atom.ground.api.doors import validated
from atom.ground.database import in_db
from atom.ground.errors import BadRequest, Unavailable
from atom.ground.models import Scope
from atom.ground.sockets import GovernedSocket
from governance import presence
from governance.api.supervision import LiveRunOut, NewCorrection, Termination
from governance.supervision import queries, services
from governance.supervision.queries import SHOWN_MOST, Watch

log = structlog.get_logger(__name__)

TOUCH_S = presence.WATCHING_S / 3


class NamedRun(serializers.Serializer[Any]):
    run_id = serializers.UUIDField()


class NamedCorrection(NamedRun, NewCorrection):
    """`run.correct`."""


class NamedTermination(NamedRun, Termination):
    """`run.terminate`."""


class WatchIn(serializers.Serializer[Any]):
    """What to send from now on; nothing named: every run of the workspace."""

    run_id = serializers.UUIDField(required=False, allow_null=True)
    agent = serializers.CharField(required=False, allow_null=True, max_length=60)
    maturity = serializers.ChoiceField(required=False, choices=Maturity.choices, default="", allow_blank=True)


class SuperviseConsumer(GovernedSocket):
    """Sends `{"type": "runs", "runs"}` at first, `{"type": "run", …}` as each begins, and all that the runs tell.

    While it is open its operator is present.
    """

    needs_scope = Scope.SUPERVISE

    async def opened(self) -> None:
        self.session = str(uuid4())
        self.watch = Watch()
        self.following: dict[UUID, asyncio.Task[None]] = {}
        self.chores = [asyncio.create_task(self._be_present()), asyncio.create_task(self._tell())]

    async def closed(self) -> None:
        tasks = [*getattr(self, "chores", ()), *getattr(self, "following", {}).values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if hasattr(self, "session"):
            await self._in_store(lambda: presence.leave(self.principal.workspace_id, session=self.session))

    async def receive_json(self, frame: dict[str, Any]) -> None:
        match frame.get("type"):
            case "run.pause":
                await self._step(frame, NamedRun, services.pause)
            case "run.resume":
                await self._step(frame, NamedRun, services.resume)
            case "run.correct":
                await self._step(frame, NamedCorrection, services.correct)
            case "run.terminate":
                wanted = validated(NamedTermination(data=frame))
                run = await in_db(agents.get_run, self.principal, wanted.pop("run_id"))
                await services.terminate(run=run, principal=self.principal, **wanted)
            case "watch":
                await self._narrow(validated(WatchIn(data=frame)))
            case _:
                known = "watch, run.pause, run.resume, run.correct or run.terminate"
                raise BadRequest(f"The frame's type must be {known}.", param="type")

    async def _step(
        self, frame: dict[str, Any], shape: type[serializers.Serializer[Any]], service: Callable[..., Any]
    ) -> None:
        wanted = validated(shape(data=frame))
        run = await in_db(agents.get_run, self.principal, wanted.pop("run_id"))
        await in_db(service, run=run, principal=self.principal, **wanted)

    # --- What is sent --------------------------------------------------------------------------------------
    async def _narrow(self, wanted: dict[str, Any]) -> None:
        """Send only what is asked for, from the list of it on."""
        run = await in_db(agents.get_run, self.principal, wanted["run_id"]) if wanted.get("run_id") else None
        agent = await in_db(agents.get_agent, self.principal, wanted["agent"]) if wanted.get("agent") else None
        self.watch = Watch(run.pk if run else None, agent.pk if agent else None, wanted["maturity"])
        for task in self.following.values():
            task.cancel()
        self.following.clear()
        await self._send_list()

    async def _tell(self) -> None:
        with news.listening(topic_of(self.principal.workspace_id)) as ear:
            is_first = True
            while True:
                told = await ear.next()
                try:
                    if is_first:
                        await self._send_list()
                        is_first = False
                    else:
                        await self._send_new(told)
                except Exception:
                    # The database being away for a moment ends no supervision.
                    log.exception("supervisor_not_told")

    async def _send_list(self) -> None:
        watch = self.watch
        found = await in_db(self._live, watch)
        if watch != self.watch:
            return
        await self.send_json({"type": "runs", "runs": found})
        for run in found:
            self._follow(UUID(run["id"]))

    async def _send_new(self, told: dict[str, Any] | None) -> None:
        """The run that was told of; all that are not known yet, when something may have been missed."""
        watch = self.watch
        only = UUID(told["run_id"]) if told else None
        for run in await in_db(self._live, watch, only):
            if watch == self.watch and UUID(run["id"]) not in self.following:
                await self.send_json({"type": "run", **run})
                self._follow(UUID(run["id"]))

    def _live(self, watch: Watch, only: UUID | None = None) -> list[dict[str, Any]]:
        rows = queries.live_runs(self.principal, watch)
        rows = rows if only is None else rows.filter(pk=only)
        return [dict(LiveRunOut(run).data) for run in rows[:SHOWN_MOST]]

    def _follow(self, run_id: UUID) -> None:
        if run_id in self.following:
            return
        task = asyncio.create_task(self._send_events(run_id))
        self.following[run_id] = task
        task.add_done_callback(lambda done: self.following.get(run_id) is done and self.following.pop(run_id))

    async def _send_events(self, run_id: UUID) -> None:
        try:
            # Whoever looks on keeps no run alive that its own people have left.
            async for recorded in follow(run_id, counts=False):
                if recorded is not None:
                    await self.send(text_data=recorded.raw.decode())
        except Unavailable as exc:
            await self.send_json({"type": "error", "run_id": run_id, **exc.body()})
        except Exception:
            log.exception("supervised_stream_failed", run_id=str(run_id))

    # --- Presence --------------------------------------------------------------------------------------------
    async def _be_present(self) -> None:
        who = self.principal
        while True:
            await self._in_store(lambda: presence.touch(who.workspace_id, session=self.session, user_id=who.user_id))
            await asyncio.sleep(TOUCH_S)

    async def _in_store(self, work: Callable[[], None]) -> None:
        try:
            await asyncio.to_thread(work)
        except (RedisError, Unavailable):
            log.warning("presence_not_told", session=self.session)
