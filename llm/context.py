"""Whether a conversation goes into a model's window, and which of its old turns go when it does not.

Tokens are guessed: only the model's own tokenizer knows them. A quarter of the bytes is about right for most
languages, so turns are dropped only where the model would most likely refuse the whole.
"""

from collections.abc import Sequence
from dataclasses import replace

import orjson

from llm.errors import LLMError
from llm.messages import Image, Message, Part, Request, Text, Thought, ToolCall, ToolResult

BYTES_PER_TOKEN = 4
# What an image costs about, whatever its bytes: providers scale it down.
TOKENS_PER_IMAGE = 1_000
# Roles, marks and ids around each message.
TOKENS_PER_MESSAGE = 4
# Room for the answer where the caller named no limit, and the largest part of the window that it may take.
ANSWER_TOKENS = 1_024
ANSWER_SHARE = 2


class ContextTooLong(LLMError):
    """The newest turn alone is more than the model reads. Another model may have the room."""

    code = "context_length_exceeded"
    type = "invalid_request_error"
    status = 400


def fit_context(request: Request, window: int | None, name: str) -> Request:
    """The request without its oldest turns, as far as the model `name` with this window (tokens) needs it.

    A turn begins with what a person says and ends before the next; system messages and the newest turn always stay,
    so a tool call never loses its result. Raises ContextTooLong when those alone are too long.
    """
    if window is None:
        return request
    room = window - answer_tokens(request, window) - tokens_of_tools(request)
    if tokens_of(request.messages) <= room:
        return request
    turns = _turns(request.messages)
    kept = list(turns)
    size = tokens_of(request.messages)
    for place, turn in enumerate(turns[:-1]):
        if size <= room:
            break
        spoken = [message for message in turn if message.role != "system"]
        size -= tokens_of(spoken)
        kept[place] = [message for message in turn if message.role == "system"]
    if size > room:
        raise ContextTooLong(
            f"The input has about {size} tokens; {name} reads at most {window}, with room for its answer and the tools "
            f"{max(0, room)}. Shorten the last message or choose a model with a larger context window.",
            param="messages",
        )
    return replace(request, messages=tuple(message for turn in kept for message in turn))


def tokens_of(messages: Sequence[Message]) -> int:
    """About how many tokens these messages have."""
    return sum(TOKENS_PER_MESSAGE + sum(map(_tokens, message.parts)) for message in messages)


def tokens_of_tools(request: Request) -> int:
    return sum(
        _of_text(tool.name + tool.description) + len(orjson.dumps(tool.parameters)) // BYTES_PER_TOKEN
        for tool in request.tools
    )


def answer_tokens(request: Request, window: int) -> int:
    """The room that the answer needs."""
    return min(request.max_tokens or ANSWER_TOKENS, window // ANSWER_SHARE)


def _turns(messages: Sequence[Message]) -> list[list[Message]]:
    """Each begins with a person's message; what stands before the first is a turn of its own."""
    turns: list[list[Message]] = [[]]
    for message in messages:
        # Several messages of a person in a row are one turn.
        if message.role == "user" and any(one.role != "user" for one in turns[-1]):
            turns.append([])
        turns[-1].append(message)
    return turns


def _tokens(part: Part) -> int:
    match part:
        case Text(text):
            return _of_text(text)
        case Image():
            return TOKENS_PER_IMAGE
        case ToolCall(name=name, arguments=arguments):
            return _of_text(name) + _of_text(arguments)
        case ToolResult(_, content):
            return _of_text(content)
        case Thought(data=data):
            return len(orjson.dumps(data)) // BYTES_PER_TOKEN


def _of_text(text: str) -> int:
    size = len(text) if text.isascii() else len(text.encode(errors="replace"))
    return -(-size // BYTES_PER_TOKEN)
