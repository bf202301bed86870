"""A provider that speaks OpenAI's responses wire on a loopback port; see `tests.simulators.server`.

Stands alone: `python -m tests.simulators.responses --port 9003`.
"""

from collections.abc import Iterator
from typing import Any

from aiohttp import web

from tests.simulators.openai import CREATED
from tests.simulators.scripts import Script, ScriptedCall, Seen
from tests.simulators.server import Simulator, counts_of, halves, main, sse


class ResponsesSimulator(Simulator):
    @property
    def base_url(self) -> str:
        return f"{self.root_url}/v1"

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_post("/v1/responses", self.answer)

    def is_streamed(self, asked: Seen) -> bool:
        return bool(asked.json.get("stream"))

    def last_said(self, asked: Seen) -> str:
        given = asked.json.get("input", "")
        if isinstance(given, str):
            return given
        said = [item for item in given if item.get("role") == "user"]
        content = said[-1]["content"] if said else ""
        return content if isinstance(content, str) else " ".join(part.get("text", "") for part in content)

    def chunks(self, asked: Seen, script: Script) -> list[str]:
        done = self.whole(asked, script)
        number = iter(range(1_000_000))

        def packet(*events: dict[str, Any]) -> str:
            return "".join(sse({**event, "sequence_number": next(number)}, event["type"]) for event in events)

        pending = {**done, "status": "in_progress", "output": [], "usage": None, "incomplete_details": None}
        opening = packet(*[{"type": f"response.{word}", "response": pending} for word in ("created", "in_progress")])
        packets = [
            packet(*events) for index, item in enumerate(done["output"]) for events in item_events(index, item, script)
        ]
        return [opening, *packets, packet({"type": f"response.{done['status']}", "response": done})]

    def whole(self, asked: Seen, script: Script) -> dict[str, Any]:
        sent, said = counts_of(asked, script)
        counted = {"input_tokens": sent, "output_tokens": said, "total_tokens": sent + said}
        details = {"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}
        done = {**self._response(asked), "status": "completed", "output": items_of(script)}
        if "reasoning.encrypted_content" in (asked.json.get("include") or ()):
            done["output"] = [sealed(item, script) for item in done["output"]]
        if script.usage is not None:
            done["usage"] = script.usage or {**counted, **details}
        if script.finish:
            done.update(status="incomplete", incomplete_details={"reason": script.finish})
        return done

    def lacks_seals(self, asked: Seen) -> bool:
        items = asked.json["input"]
        called = [place for place, item in enumerate(items) if item["type"] == "function_call"]
        before = [[item for item in items[:place] if item["type"] == "reasoning"] for place in called]
        return any(not found or found[-1].get("encrypted_content") not in self.seals for found in before)

    def error_event(self, kind: str, message: str) -> str:
        return sse({"type": "error", "code": kind, "message": message, "param": None, "sequence_number": 9}, "error")

    def _response(self, asked: Seen) -> dict[str, Any]:
        fixed = {"object": "response", "created_at": CREATED, "error": None, "incomplete_details": None}
        given = {"tools": [], "tool_choice": "auto", "parallel_tool_calls": True, "metadata": {}, "instructions": None}
        model = asked.json.get("model", "")
        return {"id": f"resp_{self.next_id()}", "model": model, **fixed, **given}


def items_of(script: Script) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    if script.thinking:
        summary = [{"type": "summary_text", "text": "".join(script.thinking)}]
        items.append({"id": "rs_1", "type": "reasoning", "summary": summary})
    if script.pieces:
        said = {"type": "output_text", "text": "".join(script.pieces), "annotations": []}
        items.append({"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [said]})
    return [*items, *[call_item(call) for call in script.calls]]


def sealed(item: dict[str, Any], script: Script) -> dict[str, Any]:
    return {**item, "encrypted_content": script.seal} if item["type"] == "reasoning" else item


def call_item(call: ScriptedCall) -> dict[str, Any]:
    said = {"call_id": call.id, "name": call.name, "arguments": call.arguments}
    return {"id": f"fc_{call.id}", "type": "function_call", "status": "completed", **said}


def item_events(index: int, item: dict[str, Any], script: Script) -> Iterator[list[dict[str, Any]]]:
    """The events of one item, a list for each piece; the first also begins the item, the last also ends it."""
    place: dict[str, Any] = {"item_id": item["id"], "output_index": index}
    match item["type"]:
        case "reasoning":
            begun = {**item, "summary": []}
            kind, pieces = "response.reasoning_summary_text", script.thinking
            place["summary_index"] = 0
            part: dict[str, Any] = {
                "type": "response.reasoning_summary_part",
                "part": {"type": "summary_text", "text": ""},
            }
        case "message":
            begun = {**item, "status": "in_progress", "content": []}
            kind, pieces = "response.output_text", script.pieces
            place.update(content_index=0, logprobs=[])
            part = {"type": "response.content_part", "part": {"type": "output_text", "text": "", "annotations": []}}
        case _:
            begun = {**item, "status": "in_progress", "arguments": ""}
            kind, pieces = "response.function_call_arguments", halves(item["arguments"])
            part = {}
    added: list[dict[str, Any]] = [{"type": "response.output_item.added", "output_index": index, "item": begun}]
    if part:
        added.append({**place, **part, "type": f"{part['type']}.added"})
    whole = "".join(pieces)
    name = {"name": item["name"]} if "name" in item else {}
    done: list[dict[str, Any]] = [
        {**place, "type": f"{kind}.done", "arguments" if name else "text": whole, **name},
        {"type": "response.output_item.done", "output_index": index, "item": item},
    ]
    deltas = [[{**place, "type": f"{kind}.delta", "delta": piece}] for piece in pieces] or [[]]
    deltas[0] = [*added, *deltas[0]]
    deltas[-1] += done
    yield from deltas


if __name__ == "__main__":
    main(ResponsesSimulator)
