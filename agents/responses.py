"""Responses that their clients may come back to: kept, read, gone on from, deleted.

The row keeps what came in; what was answered is read from the run.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from django.db import transaction

from agents.models import Message, RunEvent, StoredResponse
from agents.parts import message_from
from agents.runs.events import NAMES, ToolCall
from atom.ground import audit
from atom.ground.errors import Conflict, NotFound
from atom.ground.principal import Principal
from llm.messages import Message as ModelMessage
from llm.messages import Part
from llm.messages import ToolCall as ModelToolCall

CALL = NAMES[ToolCall]


class PreviousResponseNotFound(NotFound):
    """Foreign, deleted, never stored or never there: all the same from outside."""

    code = "previous_response_not_found"
    type = "invalid_request_error"


# --- Writes ---------------------------------------------------------------------------------------------
def keep_response(
    *,
    response_id: UUID,
    workspace_id: UUID,
    run_id: UUID | None,
    previous_id: UUID | None,
    request: Mapping[str, Any],
    items: Sequence[Mapping[str, Any]],
) -> StoredResponse:
    """Store a response that has begun, at the end of its conversation; one that its client asks for again is there."""
    before = StoredResponse.objects.filter(workspace_id=workspace_id, pk=previous_id).first() if previous_id else None
    found, _ = StoredResponse.objects.get_or_create(
        id=response_id,
        workspace_id=workspace_id,
        defaults={
            "run_id": run_id,
            "previous_id": previous_id,
            "root_id": before.root_id if before else response_id,
            "request": dict(request),
            "input": list(items),
        },
    )
    return found


@transaction.atomic
def delete_response(*, response: StoredResponse, by: str) -> None:
    """Forget what came in; the run stays, as the record of what was done. Conflict while it is running."""
    if response.run is not None and response.run.is_open:
        raise Conflict("This response is still in progress: cancel it first.")
    audit.append(
        workspace_id=response.workspace_id,
        actor=by,
        event="response.deleted",
        details={"response": response.id, "run": response.run_id},
    )
    response.delete()


# --- Reads ----------------------------------------------------------------------------------------------
def get_response(principal: Principal, response_id: UUID) -> StoredResponse:
    found = (
        StoredResponse.objects.select_related("run").filter(workspace_id=principal.workspace_id, pk=response_id).first()
    )
    if found is None:
        raise NotFound("There is no such response.")
    return found


def conversation_until(principal: Principal, response_id: UUID) -> list[StoredResponse]:
    """The stored responses up to and with this one, oldest first; PreviousResponseNotFound if any of them is gone."""
    last = StoredResponse.objects.filter(workspace_id=principal.workspace_id, pk=response_id).first()
    if last is None:
        raise PreviousResponseNotFound("The previous response was not found.", param="previous_response_id")
    related = StoredResponse.objects.filter(workspace_id=principal.workspace_id, root_id=last.root_id)
    by_id = {one.id: one for one in related.select_related("run")}
    found: list[StoredResponse] = []
    wanted: UUID | None = response_id
    while wanted is not None:
        if wanted not in by_id:
            message = "A response earlier in this conversation was deleted."
            raise PreviousResponseNotFound(message, param="previous_response_id")
        found.append(by_id[wanted])
        wanted = by_id[wanted].previous_id
    found.reverse()
    if any(one.run is not None and one.run.is_open for one in found):
        raise Conflict("The previous response is still in progress.", param="previous_response_id")
    return found


def answers_of(responses: Iterable[StoredResponse]) -> dict[UUID, list[ModelMessage]]:
    """For each response what was said and called in its run, as a model is told it."""
    run_ids = [one.run_id for one in responses if one.run_id is not None]
    found: dict[UUID, list[ModelMessage]] = {run_id: [] for run_id in run_ids}
    rows = Message.objects.filter(run__in=run_ids).exclude(role=Message.Role.USER)
    for row in rows.order_by("created_at"):
        if row.run_id is not None and row.parts:
            found[row.run_id].append(message_from(row.role, row.parts))
    calls: dict[UUID, list[Part]] = {}
    for event in RunEvent.objects.filter(run__in=run_ids, type=CALL).order_by("seq"):
        call = ModelToolCall(event.data["call_id"], event.data["name"], event.data["arguments"])
        calls.setdefault(event.run_id, []).append(call)
    for run_id, made in calls.items():
        # What the model said before it called, and the calls, were one message.
        said = found[run_id].pop().parts if found[run_id] and found[run_id][-1].role == "assistant" else ()
        found[run_id].append(ModelMessage("assistant", (*said, *made)))
    return found
