"""A run's answer on OpenAI's responses wire: event by event, and as the response object.

https://platform.openai.com/docs/api-reference/responses-streaming. The same run events always become the same
response events with the same numbers, so that a stream can be taken up again at any of them.
"""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeAlias
from uuid import UUID

from agents.api.answers import Told
from agents.api.responses.serializers import ID_PREFIX
from agents.models import RunStatus
from agents.runs.events import RunEnded, TextDelta, ThinkingDelta, ToolCall

Event: TypeAlias = dict[str, Any]

# Why an answer is not whole although nothing failed.
INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
# What of a request its response repeats, and what stands there when it was not given.
REPEATED: dict[str, Any] = {
    "model": "",
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "previous_response_id": None,
    "reasoning": {"effort": None, "summary": None},
    "store": True,
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": None,
    "user": None,
}


def repeated(data: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of the request that its response repeats."""
    found = {name: data[name] if data.get(name) is not None else usual for name, usual in REPEATED.items()}
    found["tools"] = [{"strict": None, "parameters": None, **tool} for tool in found["tools"]]
    return found


@dataclass(slots=True)
class Writer:
    """Takes what a run tells and gives the events it becomes; `response()` is the answer as far as it has come."""

    response_id: UUID
    created_at: datetime
    request: dict[str, Any]
    output: list[dict[str, Any]] = field(default_factory=list)
    _is_open: bool = False
    _number: int = 0
    _ended: RunEnded | None = None

    @property
    def sent(self) -> int:
        """How many events there have been."""
        return self._number

    def begin(self) -> list[Event]:
        return [self._of_response("response.created"), self._of_response("response.in_progress")]

    def prewarmed(self) -> list[Event]:
        """The whole life of a response for which nobody is asked."""
        created = self._of_response("response.created")
        self._ended = RunEnded(RunStatus.SUCCEEDED)
        return [created, self._of_response("response.completed")]

    def tell(self, event: Told) -> list[Event]:
        match event:
            case TextDelta(text):
                begun = self._open_message()
                self.output[-1]["content"][0]["text"] += text
                return [*begun, self._inside("output_text.delta", content_index=0, delta=text, logprobs=[])]
            case ThinkingDelta(text):
                begun = self._open_reasoning()
                self.output[-1]["summary"][0]["text"] += text
                return [*begun, self._inside("reasoning_summary_text.delta", summary_index=0, delta=text)]
            case ToolCall() as call:
                return self._call(call)
            case RunEnded() as ended:
                closed = self._close(is_whole=ended.status == RunStatus.SUCCEEDED)
                self._ended = ended
                return [*closed, self._of_response(f"response.{self._last_word()}")]

    def response(self) -> dict[str, Any]:
        ended = self._ended
        reason = INCOMPLETE.get(ended.finish_reason) if ended else None
        failure = ended.error if ended and self.status == "failed" else None
        return {
            "id": f"{ID_PREFIX}{self.response_id.hex}",
            "object": "response",
            "created_at": int(self.created_at.timestamp()),
            "status": self.status,
            **self.request,
            "error": {"code": failure["code"], "message": failure["message"]} if failure else None,
            "incomplete_details": {"reason": reason} if self.status == "incomplete" else None,
            "output": deepcopy(self.output),
            "parallel_tool_calls": True,
            "truncation": "disabled",
            "usage": usage_json(ended.usage) if ended else None,
        }

    @property
    def status(self) -> str:
        match self._ended:
            case None:
                return "in_progress"
            case RunEnded(status=RunStatus.SUCCEEDED, finish_reason=reason):
                return "incomplete" if reason in INCOMPLETE else "completed"
            case RunEnded(status=RunStatus.CANCELLED):
                return "cancelled"
            case _:
                return "failed"

    # --- Events ------------------------------------------------------------------------------------------
    def _event(self, kind: str, **fields: Any) -> Event:
        event = {"type": kind, "sequence_number": self._number, **fields}
        self._number += 1
        return event

    def _of_response(self, kind: str) -> Event:
        return self._event(kind, response=self.response())

    def _last_word(self) -> str:
        """The wire has no event for a response that was cancelled."""
        return "failed" if self.status == "cancelled" else self.status

    def _inside(self, kind: str, **fields: Any) -> Event:
        """An event about the newest item."""
        item = self.output[-1]
        return self._event(f"response.{kind}", item_id=item["id"], output_index=len(self.output) - 1, **fields)

    def _of_item(self, word: str) -> Event:
        index = len(self.output) - 1
        return self._event(f"response.output_item.{word}", output_index=index, item=deepcopy(self.output[-1]))

    # --- Items -------------------------------------------------------------------------------------------
    def _add(self, kind: str, prefix: str, **fields: Any) -> list[Event]:
        """Close what is open and open an item of this kind."""
        closed = self._close()
        item_id = f"{prefix}_{self.response_id.hex}{len(self.output):02x}"
        self.output.append({"id": item_id, "type": kind, "status": "in_progress", **fields})
        self._is_open = True
        return [*closed, self._of_item("added")]

    def _is_open_as(self, kind: str) -> bool:
        return self._is_open and bool(self.output) and self.output[-1]["type"] == kind

    def _open_message(self) -> list[Event]:
        if self._is_open_as("message"):
            return []
        begun = self._add("message", "msg", role="assistant", content=[])
        part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
        self.output[-1]["content"] = [part]
        return [*begun, self._inside("content_part.added", content_index=0, part=dict(part))]

    def _open_reasoning(self) -> list[Event]:
        if self._is_open_as("reasoning"):
            return []
        begun = self._add("reasoning", "rs", summary=[])
        part = {"type": "summary_text", "text": ""}
        self.output[-1]["summary"] = [part]
        return [*begun, self._inside("reasoning_summary_part.added", summary_index=0, part=dict(part))]

    def _call(self, call: ToolCall) -> list[Event]:
        begun = self._add("function_call", "fc", call_id=call.call_id, name=call.name, arguments="")
        told = [*begun, self._inside("function_call_arguments.delta", delta=call.arguments)]
        self.output[-1]["arguments"] = call.arguments
        return [*told, *self._close()]

    def _close(self, *, is_whole: bool = True) -> list[Event]:
        """End the open item, if there is one."""
        if not self._is_open:
            return []
        self._is_open = False
        item = self.output[-1]
        item["status"] = "completed" if is_whole else "incomplete"
        match item["type"]:
            case "message":
                part = item["content"][0]
                told = [
                    self._inside("output_text.done", content_index=0, text=part["text"], logprobs=[]),
                    self._inside("content_part.done", content_index=0, part=dict(part)),
                ]
            case "reasoning":
                part = item["summary"][0]
                told = [
                    self._inside("reasoning_summary_text.done", summary_index=0, text=part["text"]),
                    self._inside("reasoning_summary_part.done", summary_index=0, part=dict(part)),
                ]
            case _:
                told = [self._inside("function_call_arguments.done", name=item["name"], arguments=item["arguments"])]
        return [*told, self._of_item("done")]


def usage_json(counts: Mapping[str, int]) -> dict[str, Any]:
    given, made = counts.get("input_tokens", 0), counts.get("output_tokens", 0)
    return {
        "input_tokens": given,
        "input_tokens_details": {"cached_tokens": counts.get("cached_tokens", 0), "cache_write_tokens": 0},
        "output_tokens": made,
        "output_tokens_details": {"reasoning_tokens": counts.get("reasoning_tokens", 0)},
        "total_tokens": given + made,
    }
