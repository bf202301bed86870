"""A provider that speaks the Gemini wire on a loopback port; see `tests.simulators.server`.

Stands alone: `python -m tests.simulators.gemini --port 9002`.
"""

import json
from typing import Any

from aiohttp import web

from tests.simulators.scripts import Script, Seen
from tests.simulators.server import Simulator, counts_of, main, sse


class GeminiSimulator(Simulator):
    @property
    def base_url(self) -> str:
        return self.root_url

    def add_routes(self, router: web.UrlDispatcher) -> None:
        # Newer official clients call v1; the wire calls v1beta, as the documentation does.
        router.add_post("/{version:v1|v1beta}/models/{call}", self.answer)

    def is_streamed(self, asked: Seen) -> bool:
        return asked.path.endswith(":streamGenerateContent")

    def last_said(self, asked: Seen) -> str:
        said = [turn for turn in asked.json.get("contents", []) if turn.get("role") == "user"]
        return " ".join(part.get("text", "") for part in said[-1]["parts"]) if said else ""

    def chunks(self, asked: Seen, script: Script) -> list[str]:
        found = [self._chunk(asked, [part]) for part in parts_of(script)]
        found.append(self._chunk(asked, [], stop_of(script)))
        if script.usage is not None:
            usage = self._usage(asked, script)
            for place, chunk in enumerate(found):
                # What was sent is known from the first chunk on, what is said grows.
                said = usage.get("candidatesTokenCount", 0) * (place + 1) // len(found)
                if chunk is found[-1] or script.usage_cumulative:
                    chunk["usageMetadata"] = {**usage, "candidatesTokenCount": said}
        # This wire opens nothing: the first chunk is already the model's.
        return ["", *[sse(chunk) for chunk in found]]

    def whole(self, asked: Seen, script: Script) -> dict[str, Any]:
        found = self._chunk(asked, parts_of(script), stop_of(script))
        return found if script.usage is None else {**found, "usageMetadata": self._usage(asked, script)}

    def lacks_seals(self, asked: Seen) -> bool:
        said = [turn["parts"] for turn in asked.json["contents"] if turn["role"] == "model"]
        calls = [[part for part in parts if "functionCall" in part] for parts in said]
        return any(found[0].get("thoughtSignature") not in self.seals for found in calls if found)

    def error_event(self, kind: str, message: str) -> str:
        return sse({"error": {"code": int(kind), "message": message, "status": "UNAVAILABLE"}})

    def error_body(self, status: int, message: str) -> dict[str, Any]:
        return {"error": {"code": status, "message": message, "status": "UNAVAILABLE"}}

    def _chunk(self, asked: Seen, parts: list[dict[str, Any]], finish: str | None = None) -> dict[str, Any]:
        candidate: dict[str, Any] = {"content": {"role": "model", "parts": parts}, "index": 0}
        if finish is not None:
            candidate["finishReason"] = finish
        model = asked.path.rsplit("/", 1)[-1].split(":")[0]
        return {"candidates": [candidate], "modelVersion": model, "responseId": f"sim-{self.next_id()}"}

    def _usage(self, asked: Seen, script: Script) -> dict[str, Any]:
        sent, said = counts_of(asked, script)
        return script.usage or {"promptTokenCount": sent, "candidatesTokenCount": said, "totalTokenCount": sent + said}


def stop_of(script: Script) -> str:
    return script.finish or "STOP"


def parts_of(script: Script) -> list[dict[str, Any]]:
    """Calls come whole on this wire."""
    parts: list[dict[str, Any]] = [{"text": piece, "thought": True} for piece in script.thinking]
    parts += [{"text": piece} for piece in script.pieces]
    for place, call in enumerate(script.calls):
        part: dict[str, Any] = {"functionCall": {"id": call.id, "name": call.name, "args": json.loads(call.arguments)}}
        # Of calls side by side only the first has one.
        parts.append({**part, "thoughtSignature": script.seal} if script.seal and not place else part)
    return parts


if __name__ == "__main__":
    main(GeminiSimulator)
