"""`/api/approvals/{id}/?wait=30`: one approval, answered when it is decided or the time is over."""

import asyncio
from typing import Any, cast
from uuid import UUID

from asgiref.sync import sync_to_async
from django.http import HttpRequest, JsonResponse
from django.http.response import HttpResponseBase

from atom.ground import news
from atom.ground.api.doors import door
from atom.ground.database import in_db
from atom.ground.errors import BadRequest
from atom.ground.principal import Principal
from governance import queries
from governance.api.serializers import ApprovalOut
from governance.api.views import OneApproval
from governance.approvals.inbox import topic_of
from governance.models import ApprovalStatus

LONGEST_S = 60.0
# News can be lost with the store's connection, and an expiry is no news.
LOOK_AGAIN_S = 2.0

_one = sync_to_async(OneApproval.as_view())


async def one_approval(request: HttpRequest, approval_id: UUID) -> HttpResponseBase:
    if "wait" in request.GET:
        return await wait_for(request, approval_id)
    return cast(HttpResponseBase, await _one(request, approval_id=approval_id))


# What the OpenAPI description looks at.
one_approval.cls = OneApproval  # type: ignore[attr-defined]  # what spectacular asks a view for
one_approval.initkwargs = {}  # type: ignore[attr-defined]  # what spectacular asks a view for


@door("GET", scope=("chat", "approve"))
async def wait_for(request: HttpRequest, principal: Principal, approval_id: UUID) -> HttpResponseBase:
    """The approval once it is not pending any more, or as it is after `wait` seconds."""
    wait_s = _seconds(request.GET["wait"])
    found = await in_db(_read, principal, approval_id)
    loop = asyncio.get_running_loop()
    until = loop.time() + wait_s
    with news.listening(topic_of(principal.workspace_id)) as ear:
        while found["status"] == ApprovalStatus.PENDING and (left := until - loop.time()) > 0:
            await ear.next(min(left, LOOK_AGAIN_S))
            found = await in_db(_read, principal, approval_id)
    return JsonResponse(found)


def _seconds(text: str) -> float:
    try:
        wait_s = float(text)
    except ValueError:
        wait_s = -1
    if not 0 <= wait_s <= LONGEST_S:
        raise BadRequest(f"wait is a number of seconds, {LONGEST_S:g} at most.", param="wait")
    return wait_s


def _read(principal: Principal, approval_id: UUID) -> dict[str, Any]:
    return dict(ApprovalOut(queries.get_approval(principal, approval_id)).data)
