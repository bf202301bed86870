"""The events of a run that has ended, rebuilt from the database after the store has forgotten them."""

from agents import queries
from agents.fields import exact
from agents.models import Message, Run, RunStatus
from agents.runs.events import (
    KINDS,
    NAMES,
    Corrected,
    Recorded,
    RunEnded,
    RunEvent,
    TextDelta,
    ToolCall,
    decode,
    encode,
)

# Told from the messages, or from the run's own row.
_TOLD_ELSEWHERE = (NAMES[Corrected], NAMES[RunEnded])


def past_of(run: Run) -> list[Recorded]:
    """As the store would give them."""
    return [decode(encode(seq, str(run.id), event)) for seq, event in enumerate(past_events(run), 1)]


def past_events(run: Run) -> list[RunEvent]:
    """What was said, message by message, then what happened, then the end; none while the run goes on."""
    if run.is_open:
        return []
    kept = list(queries.events_of(run))
    happened = [KINDS[event.type](**event.data) for event in kept if event.type not in _TOLD_ELSEWHERE]
    usual = "tool_calls" if any(isinstance(event, ToolCall) for event in happened) else "stop"
    reason = next((event.data["finish_reason"] for event in kept if event.type == NAMES[RunEnded]), usual)
    return [*_said(run), *happened, _end_of(run, reason)]


def _said(run: Run) -> list[RunEvent]:
    """The assistant's words; operators' come between them, because a reader forgets what was said before."""
    found: list[RunEvent] = []
    for message in run.messages.order_by("created_at"):
        if message.role == Message.Role.ASSISTANT and message.text:
            found.append(TextDelta(message.text))
        elif message.role == Message.Role.USER and message.author:
            found.append(Corrected(message.text, by=message.author))
    return found


def _end_of(run: Run, reason: str) -> RunEnded:
    answer = queries.answer_of(run)
    error = {"message": run.error_message, "type": "run_error", "code": run.error_code}
    return RunEnded(
        status=run.status,
        error=None if run.status == RunStatus.SUCCEEDED else error,
        message_id=str(answer.id) if answer else None,
        finish_reason=reason,
        usage={
            "input_tokens": run.input_tokens,
            "output_tokens": run.output_tokens,
            "cached_tokens": run.cached_tokens,
            "reasoning_tokens": run.reasoning_tokens,
        },
        cost_usd=None if run.cost_usd is None else exact(run.cost_usd),
        provider=run.provider,
        model=run.model,
    )
