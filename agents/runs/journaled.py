"""Runs that need no row while they go on: how they began and ended is noted in the journal, and written in batches.

That is every call on `/v1` which only asks a model. As soon as such a run needs the database (a tool is judged,
somebody pauses or corrects it) its entries are written first, and from then on it is a run like any other.
"""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import orjson
from django.contrib.auth import get_user_model
from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.utils import timezone

from agents.models import Agent, Attempt, Message, Run, RunStatus
from agents.parts import from_json, to_json
from agents.runs import records
from agents.runs.attempts import Tried, attempt_row, decode, encode
from agents.runs.live import look_key
from agents.runs.records import Outcome
from atom.ground import journal
from atom.ground.models import AccessToken
from atom.ground.store import store
from llm.messages import Part

KIND = "run"
# What a run's row says from its beginning.
_OPENED = (
    "workspace_id", "agent_id", "user_id", "token_id", "door", "model_requested", "allowed_models", "prompt_version",
    "variant",
)  # fmt: skip

# What its end changes in the row.
_ENDED = (
    "status", "provider", "model", "time_to_first_token_s", "error_code", "error_message", "ended_at", "attempts",
    "input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens", "cost_usd",
)  # fmt: skip

# An end is noted unless somebody wants something of the run that stands in the database. KEYS: the mark of such a wish,
# the journal. ARGV: the entry's kind and data. Gives 1 when it is noted.
_END = """
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
redis.call('XADD', KEYS[2], '*', 'k', ARGV[1], 'd', ARGV[2])
return 1
"""


def opened(run: Run, parts: Sequence[Part]) -> journal.Entry:
    """How the run, which has no row yet, began."""
    row: dict[str, Any] = {name: getattr(run, name) for name in _OPENED}
    row |= {"id": run.id, "created_at": run.created_at}
    return journal.Entry(KIND, {"opened": row, "message": uuid4(), "parts": [to_json(part) for part in parts]})


async def end(run_id: UUID, outcome: Outcome, answer: Sequence[Part], message_id: UUID) -> bool:
    """Note how the run ended. False, and nothing noted, when its row has to be looked at first."""
    data = {
        "ended": run_id,
        "outcome": {
            "status": outcome.status,
            "provider": outcome.provider,
            "model": outcome.model,
            "time_to_first_token_s": outcome.time_to_first_token_s,
            "error_code": outcome.error_code,
            "error_message": outcome.error_message,
            "events": outcome.events,
        },
        "tried": encode(outcome.tried).decode(),
        "answer": [to_json(part) for part in answer],
        "message": message_id,
        "at": timezone.now(),
    }
    script = store().register_script(_END)
    raw = orjson.dumps(data, default=str)
    return bool(await script(keys=[look_key(run_id), journal.STREAM], args=[KIND, raw]))


# --- Writing ----------------------------------------------------------------------------------------------------
@journal.writes(KIND, place=0)
def write(entries: Sequence[journal.Written]) -> None:
    """Runs that began since the last batch, and those that ended, as they are now: a few statements for all of them."""
    begun = {entry["opened"]["id"]: entry for entry in entries if "opened" in entry}
    ended = {entry["ended"]: entry for entry in entries if "ended" in entry}
    known = _known(begun.values())
    new = [run for entry in begun.values() if (run := _run(entry["opened"], known)) is not None]
    later = _open_rows([UUID(run_id) for run_id in ended if run_id not in begun])
    over = [run for run in (*new, *later) if str(run.pk) in ended]
    attempts = [row for run in over for row in _end(run, ended[str(run.pk)])]
    asked = [(run, begun[str(run.pk)]) for run in new]
    messages = [_message(run, one["message"], Message.Role.USER, one["parts"], run.created_at) for run, one in asked]
    messages += [answer for run in over for answer in _answer(run, ended[str(run.pk)])]
    Run.objects.bulk_create(new)
    Run.objects.bulk_create(later, update_conflicts=True, unique_fields=["id"], update_fields=_ENDED)
    Message.objects.bulk_create(messages)
    Attempt.objects.bulk_create(attempts)
    records.keep_events([(run.pk, event) for run in over for event in _events(ended[str(run.pk)])])
    done = {str(run.pk) for run in over}
    gone = begun.keys() - {str(run.pk) for run in new}
    touched = [UUID(run_id) for run_id in ended if run_id not in done and run_id not in gone]
    for run_id in touched:
        _end_touched(run_id, ended[str(run_id)])
    if over or touched:
        run_ids = [*(run.pk for run in over), *touched]
        transaction.on_commit(lambda: records.announce_ends(run_ids))


def _open_rows(run_ids: Sequence[UUID]) -> list[Run]:
    """Those of the runs that stand in the database as they began, locked: nobody has had anything to do with them."""
    if not run_ids:
        return []
    tried = Attempt.objects.filter(request_id=OuterRef("pk"))
    rows = Run.objects.select_for_update().filter(
        ~Exists(tried), pk__in=run_ids, status=RunStatus.RUNNING, parked__isnull=True
    )
    return list(rows.order_by("pk"))


def _known(begun: Any) -> dict[str, set[UUID]]:
    """Whom the rows may still point to: agents, people and tokens may be gone by now."""
    wanted: dict[str, set[str]] = {"agent_id": set(), "user_id": set(), "token_id": set()}
    for entry in begun:
        for name, ids in wanted.items():
            if entry["opened"][name]:
                ids.add(entry["opened"][name])
    found: dict[str, QuerySet[Any]] = {
        "agent_id": Agent.objects.all(),
        "user_id": get_user_model().objects.all(),
        "token_id": AccessToken.objects.all(),
    }
    return {name: set(rows.filter(pk__in=wanted[name]).values_list("pk", flat=True)) for name, rows in found.items()}


def _run(row: dict[str, Any], known: dict[str, set[UUID]]) -> Run | None:
    """The run as it began; None when its agent is gone, and its runs with it."""
    if UUID(row["agent_id"]) not in known["agent_id"]:
        return None
    for name in ("user_id", "token_id"):
        found = UUID(row[name]) if row[name] else None
        row[name] = found if found in known[name] else None
    ids = {name: UUID(row[name]) for name in ("id", "workspace_id", "agent_id")}
    created_at = datetime.fromisoformat(row["created_at"])
    return Run(**{**row, **ids, "created_at": created_at, "status": RunStatus.RUNNING})


def _end(run: Run, entry: journal.Written) -> list[Attempt]:
    """Write into the row, not saved yet, how the run ended; gives the ledger's rows."""
    outcome = entry["outcome"]
    for name in ("status", "provider", "model", "time_to_first_token_s", "error_code", "error_message"):
        setattr(run, name, outcome[name])
    run.ended_at = datetime.fromisoformat(entry["at"])
    rows = [attempt_row(run, place, one) for place, one in _tried(entry)]
    run.attempts = sum(row.was_called for row in rows)
    for name in ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens"):
        setattr(run, name, sum(getattr(row, name) for row in rows))
    priced = [row.cost_usd for row in rows if row.cost_usd is not None]
    run.cost_usd = sum(priced, Decimal(0)) if len(priced) == len(rows) else None
    return rows


def _answer(run: Run, entry: journal.Written) -> list[Message]:
    is_complete = run.status == RunStatus.SUCCEEDED
    if not entry["answer"] and not is_complete:
        return []
    assert run.ended_at is not None
    return [
        _message(run, entry["message"], Message.Role.ASSISTANT, entry["answer"], run.ended_at, is_complete=is_complete)
    ]


def _message(
    run: Run, message_id: str, role: str, parts: list[dict[str, Any]], at: datetime, *, is_complete: bool = True
) -> Message:
    return Message(
        id=UUID(message_id),
        workspace_id=run.workspace_id,
        run=run,
        role=role,
        parts=parts,
        is_complete=is_complete,
        created_at=at,
    )


def _end_touched(run_id: UUID, entry: journal.Written) -> None:
    """The end of a run that others had to do with since it began: closed or charged for."""
    if not Run.objects.filter(pk=run_id).exists():
        return
    records.end_run(
        run_id=run_id,
        outcome=Outcome(**{**entry["outcome"], "events": _events(entry), "tried": _tried(entry)}),
        answer=[from_json(part) for part in entry["answer"]],
        is_own=True,
        at=datetime.fromisoformat(entry["at"]),
        message_id=UUID(entry["message"]),
    )


def _events(entry: journal.Written) -> records.Events:
    return [(seq, kind, data) for seq, kind, data in entry["outcome"]["events"]]


def _tried(entry: journal.Written) -> Tried:
    return decode(entry["tried"].encode())
