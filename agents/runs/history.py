"""A session's messages as a model takes them."""

from collections.abc import Iterable

from agents import queries
from agents.models import Session
from agents.parts import message_from
from llm.messages import Message as ModelMessage
from llm.messages import ToolCall, ToolResult


def history_of(session: Session) -> list[ModelMessage]:
    """The session's messages as a model takes them: every tool call followed by a result."""
    return all_answered(message_from(row.role, row.parts) for row in queries.messages_of(session))


def all_answered(messages: Iterable[ModelMessage]) -> list[ModelMessage]:
    """The conversation with a result for every tool call, as models demand it."""
    found: list[ModelMessage] = []
    open_calls: dict[str, None] = {}
    for message in messages:
        if message.role != "tool":
            found.extend(_not_run(open_calls))
        for part in message.parts:
            if isinstance(part, ToolCall):
                open_calls[part.id] = None
            elif isinstance(part, ToolResult):
                open_calls.pop(part.call_id, None)
        found.append(message)
    return [*found, *_not_run(open_calls)]


def _not_run(open_calls: dict[str, None]) -> list[ModelMessage]:
    """Results for calls that never got one, because their run was stopped."""
    made = [ModelMessage("tool", (ToolResult(call_id, "This call was not run."),)) for call_id in open_calls]
    open_calls.clear()
    return made
