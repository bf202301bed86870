"""`/ws/inbox/`: approvals as they come, change and go."""

import asyncio
import contextlib
from typing import Any
from uuid import UUID

import structlog

from atom.ground import news
from atom.ground.database import in_db
from atom.ground.principal import Principal
from atom.ground.sockets import GovernedSocket
from governance import queries
from governance.api.serializers import ApprovalOut
from governance.approvals.inbox import topic_of

log = structlog.get_logger(__name__)

# An inbox that is longer starts with its newest; the rest is listed over the API.
SHOWN_AT_FIRST = 200


class InboxConsumer(GovernedSocket):
    """Sends what waits at first, then each approval whenever it changes: `{"type": "approval", "id", "status", …}`."""

    def check(self, principal: Principal) -> None:
        queries.require_look(principal)

    async def opened(self) -> None:
        self.telling = asyncio.create_task(self._tell())

    async def closed(self) -> None:
        if hasattr(self, "telling"):
            self.telling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self.telling

    async def _tell(self) -> None:
        with news.listening(topic_of(self.principal.workspace_id)) as ear:
            while True:
                told = await ear.next()
                try:
                    for approval in await in_db(self._approvals, told):
                        await self.send_json({"type": "approval", **approval})
                except Exception:
                    # The database being away for a moment ends no inbox.
                    log.exception("inbox_not_told")

    def _approvals(self, told: dict[str, Any] | None) -> list[dict[str, Any]]:
        """The approval that was told of; all that wait, when something may have been missed."""
        rows = queries.approvals_of(self.principal)
        if told is None:
            rows = queries.with_status(rows, "pending").order_by("-created_at")[:SHOWN_AT_FIRST]
        else:
            rows = rows.filter(pk=UUID(told["id"]))
        return [dict(ApprovalOut(row).data) for row in rows]
