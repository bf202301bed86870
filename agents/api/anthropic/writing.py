"""A run's answer as an Anthropic message: block by block for a stream, and as a whole.

https://docs.anthropic.com/en/docs/build-with-claude/streaming
"""

from typing import Any

import orjson

from agents.api.answers import Told
from agents.runs.events import RunEnded, TextDelta, ThinkingDelta, ToolCall

REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}


def frame(kind: str, **fields: Any) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), orjson.dumps({"type": kind, **fields}, default=str))


PING = frame("ping")


class Writer:
    """Takes what a run tells and gives the stream's frames; afterwards `message()` is the whole answer."""

    def __init__(self, message_id: str, model: str) -> None:
        self._head = {"id": message_id, "type": "message", "role": "assistant", "model": model}
        self._content: list[dict[str, Any]] = []
        self._is_open = False
        self._stop_reason: str | None = None
        self._usage = _usage({})

    def begin(self) -> bytes:
        return frame("message_start", message=self.message()) + PING

    def tell(self, event: Told) -> bytes:
        """The frames that this event becomes."""
        match event:
            case TextDelta(text):
                begun = self._block("text", text="")
                self._content[-1]["text"] += text
                return begun + self._delta("text_delta", text=text)
            case ThinkingDelta(text):
                # Only the model that thought could sign it; an empty signature is what an unsigned thought has.
                begun = self._block("thinking", thinking="", signature="")
                self._content[-1]["thinking"] += text
                return begun + self._delta("thinking_delta", thinking=text)
            case ToolCall(call_id, name, arguments):
                begun = self._close() + self._block("tool_use", id=call_id, name=name, input={})
                told = begun + self._delta("input_json_delta", partial_json=arguments) + self._close()
                self._content[-1]["input"] = orjson.loads(arguments or b"{}")
                return told
            case RunEnded() as ended:
                return self._end(ended)

    def message(self) -> dict[str, Any]:
        """The message as far as it has been told."""
        ending = {"stop_reason": self._stop_reason, "stop_sequence": None, "usage": self._usage}
        return {**self._head, "content": self._content, **ending}

    def _block(self, kind: str, **fields: Any) -> bytes:
        """Open a block of this kind, unless one is open already."""
        if self._is_open and self._content[-1]["type"] == kind:
            return b""
        closed = self._close()
        block = {"type": kind, **fields}
        self._content.append(block)
        self._is_open = True
        return closed + frame("content_block_start", index=len(self._content) - 1, content_block=block)

    def _delta(self, kind: str, **fields: Any) -> bytes:
        return frame("content_block_delta", index=len(self._content) - 1, delta={"type": kind, **fields})

    def _close(self) -> bytes:
        if not self._is_open:
            return b""
        self._is_open = False
        return frame("content_block_stop", index=len(self._content) - 1)

    def _end(self, ended: RunEnded) -> bytes:
        self._stop_reason, self._usage = REASONS.get(ended.finish_reason, "end_turn"), _usage(ended.usage)
        delta = {"stop_reason": self._stop_reason, "stop_sequence": None}
        return self._close() + frame("message_delta", delta=delta, usage=self._usage) + frame("message_stop")


def _usage(counts: dict[str, int]) -> dict[str, int]:
    """This wire counts what came from a cache apart from the other input."""
    cached = counts.get("cached_tokens", 0)
    return {
        "input_tokens": counts.get("input_tokens", 0) - cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached,
        "output_tokens": counts.get("output_tokens", 0),
    }
