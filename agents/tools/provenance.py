"""Where arguments come from: do they contain what an untrusted tool has said earlier in the conversation."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from agents.tools.own import OwnTool
from llm.messages import Message, ToolCall, ToolResult

# So much of a result must stand in an argument, letter for letter: fewer would be found by chance.
LEAST_CHARS = 12


def untrusted_texts(messages: Sequence[Message], tools: Mapping[str, OwnTool]) -> list[str]:
    """The results of calls to untrusted tools, and the texts inside those that are JSON."""
    parts = [part for message in messages for part in message.parts]
    called = {part.id: part.name for part in parts if isinstance(part, ToolCall)}
    texts: list[str] = []
    for part in parts:
        if isinstance(part, ToolResult):
            tool = tools.get(called.get(part.call_id, ""))
            if tool is not None and tool.is_untrusted:
                texts += [part.content, *_inside(part.content)]
    return [text for text in texts if len(text) >= LEAST_CHARS]


def provenance_of(arguments: Mapping[str, Any], texts: Sequence[str]) -> dict[str, Any]:
    """What a policy is told: `untrusted`, and which arguments contain such text. Empty when none does."""
    if not texts:
        return {}
    tainted = [name for name, value in arguments.items() if _contains([name, value], texts)]
    return {"untrusted": True, "untrusted_arguments": tainted} if tainted else {}


def _contains(value: Any, texts: Sequence[str]) -> bool:
    pieces = {
        text[start : start + LEAST_CHARS] for text in _strings(value) for start in range(len(text) - LEAST_CHARS + 1)
    }
    if not pieces:
        return False
    # By the pieces of the argument, which is the shorter one as a rule: one pass over each result.
    return any(
        text[start : start + LEAST_CHARS] in pieces for text in texts for start in range(len(text) - LEAST_CHARS + 1)
    )


def _inside(text: str) -> Iterator[str]:
    """The strings of a JSON text, unescaped: in its own spelling a line break is two letters."""
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        return
    yield from _strings(found)


def _strings(value: Any) -> Iterator[str]:
    """All that is said in a JSON value: names and numbers too, which a person may read as orders."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            waiting += [*one.keys(), *one.values()]
        elif isinstance(one, list):
            waiting += one
        elif isinstance(one, str):
            yield one
        elif one is not None and not isinstance(one, bool):
            yield str(one)
