"""A conversation as people read it: messages with their tool calls beside the results, and what each run cost."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import orjson

from agents.models import Message, Run


@dataclass(slots=True)
class Call:
    """A tool call of the model and, when it was run, what came back."""

    name: str
    arguments: Any
    result: Any = None
    is_answered: bool = False


@dataclass(slots=True)
class Turn:
    """One message of a person or an agent. `run` stands at the run's last message only: a question without an answer
    has it too."""

    message: Message
    images: list[str] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    run: Run | None = None


def _parsed(text: str) -> Any:
    """JSON if it is, the text itself otherwise."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text


def thread_of(messages: Iterable[Message], runs: Iterable[Run]) -> list[Turn]:
    """The messages in order; results of tools stand with their calls."""
    by_id = {run.id: run for run in runs}
    turns: list[Turn] = []
    calls: dict[str, Call] = {}
    last_of: dict[UUID, Turn] = {}
    for message in messages:
        if message.role == Message.Role.TOOL:
            _answer(message, calls)
            continue
        turn = Turn(message)
        for part in message.parts:
            if part["type"] == "image":
                turn.images.append(part["url"])
            elif part["type"] == "tool_call":
                calls[part["id"]] = Call(part["name"], _parsed(part["arguments"]))
                turn.calls.append(calls[part["id"]])
        turns.append(turn)
        if message.run_id is not None:
            last_of[message.run_id] = turn
    for run_id, turn in last_of.items():
        turn.run = by_id.get(run_id)
    return turns


def _answer(message: Message, calls: dict[str, Call]) -> None:
    for part in message.parts:
        if part["type"] == "tool_result" and part["call_id"] in calls:
            call = calls[part["call_id"]]
            call.result, call.is_answered = _parsed(part["content"]), True
