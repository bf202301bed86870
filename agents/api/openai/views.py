"""`/v1/chat/completions`, `/v1/models` and `/v1/metrics/providers`: the OpenAI wire, governed."""

import time
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import orjson
import structlog
from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from drf_spectacular.utils import extend_schema

from agents import queries
from agents.api.answers import Opened, Whole, failure_of, served_headers
from agents.api.anthropic.errors import refuse as anthropic_refusal
from agents.api.anthropic.models import is_asked_by_anthropic
from agents.api.anthropic.models import list_json as anthropic_list_json
from agents.api.anthropic.models import model_json as anthropic_model_json
from agents.api.keyed import note_outcome, run_for
from agents.api.openai.serializers import ChatCompletion, request_of
from agents.api.openai.shapes import WINDOW, CompletionOut, ModelsOut, OneModelOut, ProviderFigures
from agents.api.sse import KEEP_ALIVE, sse_response
from agents.runs.events import (
    ApprovalNeeded,
    RunEnded,
    RunEvent,
    TextDelta,
    ThinkingDelta,
    ToolCall,
    WireDelta,
    pending_text,
)
from atom.ground.api.doors import door, read_by
from atom.ground.api.errors import error_response
from atom.ground.api.once import once
from atom.ground.api.parsing import parse_object
from atom.ground.api.schema import STREAM
from atom.ground.database import in_db
from atom.ground.errors import AtomError, ModelNotFound
from atom.ground.idempotency import Claim
from atom.ground.principal import Principal
from llm.api.metrics import provider_metrics
from llm.queries import ServedModel, models_of
from llm.thinking import split

log = structlog.get_logger(__name__)

DONE = b"data: [DONE]\n\n"


def usage_of(ended: RunEnded | None) -> dict[str, int]:
    usage = ended.usage if ended else {}
    given, made = usage.get("input_tokens", 0), usage.get("output_tokens", 0)
    return {"prompt_tokens": given, "completion_tokens": made, "total_tokens": given + made}


def tool_call_json(call: ToolCall) -> dict[str, Any]:
    return {
        "id": call.call_id,
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments},
        **(call.extra or {}),
    }


@door("POST", scope="chat", is_hot=True)
@once()
@extend_schema(request=ChatCompletion, responses={200: CompletionOut, (200, STREAM): str})
async def chat_completions(request: HttpRequest, principal: Principal, claim: Claim | None) -> HttpResponseBase:
    body = parse_object(request.body)
    data = read_by(ChatCompletion, body)
    asked = request_of(data, body)
    runner = await run_for(request, principal, asked, door="openai", claim=claim)
    answer = Completion(Opened(runner), data)
    try:
        response = await answer.response()
    except AtomError as exc:
        response = error_response(exc)
        for name, value in answer.headers().items():
            response[name] = value
    if isinstance(response, HttpResponse):
        await note_outcome(claim, runner)
    return response


class Completion:
    """One answer in OpenAI's shape, whole or chunk by chunk."""

    def __init__(self, opened: Opened, data: dict[str, Any]) -> None:
        self.opened = opened
        self.is_stream: bool = data["stream"]
        self.with_usage = bool((data.get("stream_options") or {}).get("include_usage"))
        self.head = {
            "id": f"chatcmpl-{opened.runner.run_id.hex}",
            "created": int(opened.runner.created_at.timestamp()),
            "model": data["model"],
        }
        self.calls: Counter[int] = Counter()
        self.around: dict[str, Any] = {}
        # The call that a parked run waits for people with, and until when (monotonic) its client is kept waiting.
        self.pending: ApprovalNeeded | None = None
        self.wait_until = 0.0
        self.is_over = False
        self.warning = split(data["model"]).warning

    def headers(self) -> dict[str, str]:
        warned = {"x-atom-warning": self.warning} if self.warning else {}
        return {**served_headers(self.opened.runner), **warned}

    async def response(self) -> HttpResponseBase:
        await self.opened.begin()
        if self.is_stream:
            return sse_response(self.chunks(), self.headers())
        return self.whole(await self.opened.whole(hold=True))

    # --- Whole -----------------------------------------------------------------------------------------
    def whole(self, answer: Whole) -> HttpResponse:
        if answer.ended is not None and (error := failure_of(self.opened.runner, answer.ended)):
            raise error
        if answer.approval is not None:
            answer.text += pending_text(answer.approval.name, answer.approval.approval_id)
        ended, wired = answer.ended, answer.wired
        reasons = [ended.finish_reason if ended else "stop", *((ended.others or []) if ended else [])]
        body = {
            **self.head,
            **wired.around,
            "object": "chat.completion",
            "choices": [self.choice(answer, place, reason) for place, reason in enumerate(reasons)],
            "usage": usage_of(ended),
        }
        return HttpResponse(orjson.dumps(body), content_type="application/json", headers=self.headers())

    def choice(self, answer: Whole, place: int, reason: str) -> dict[str, Any]:
        """One of the answers; the first is what every door gives."""
        other = answer.wired.choices[place]
        text, thinking = (answer.text, answer.thinking) if place == 0 else (other.text, other.thinking)
        calls = [tool_call_json(call) for call in answer.calls if (call.choice or 0) == place]
        message: dict[str, Any] = {**other.within, "role": "assistant", "content": text or (None if calls else "")}
        if calls:
            message["tool_calls"] = calls
        if thinking:
            message["reasoning_content"] = thinking
        return {**other.beside, "index": place, "message": message, "finish_reason": reason}

    # --- Chunk by chunk ----------------------------------------------------------------------------------
    def chunk(
        self, delta: dict[str, Any], finish_reason: str | None = None, place: int = 0, beside: Any = None
    ) -> bytes:
        choice = {**(beside or {}), "index": place, "delta": delta, "finish_reason": finish_reason}
        chunk = {**self.around, **self.head, "object": "chat.completion.chunk", "choices": [choice]}
        return b"data: %s\n\n" % orjson.dumps(chunk)

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The frames of the answer; what is there at the same time goes out in one piece."""
        yield self.chunk({"role": "assistant"})
        async for batch in self.opened.batches():
            frames = [frame for recorded in batch or () for frame in self.frames(recorded.event)]
            if self.pending is not None and not self.is_over and time.monotonic() >= self.wait_until:
                frames += [self.chunk({"content": pending_text(self.pending.name, self.pending.approval_id)})]
                frames += self.ending(None)
            if frames or batch is None:
                yield b"".join(frames) or KEEP_ALIVE
            if self.is_over:
                return

    def frames(self, event: RunEvent) -> Sequence[bytes]:
        match event:
            case ApprovalNeeded() as needed:
                if self.opened.parks_at(needed):
                    self.pending = needed
                    self.wait_until = time.monotonic() + self.opened.runner.approval_hold_s
                return [KEEP_ALIVE]
            case RunEnded() as ended:
                return self.ending(ended)
            case WireDelta() as wired:
                return [self.wired(wired)]
            case ToolCall() as call:
                place = call.choice or 0
                calls = [{"index": self.calls[place], **tool_call_json(call)}]
                self.calls[place] += 1
                return [self.chunk({"tool_calls": calls}, place=place)]
            case event:
                delta = self.delta(event)
                return [self.chunk(delta)] if delta else []

    def delta(self, event: object) -> dict[str, Any] | None:
        match event:
            case TextDelta(text):
                return {"content": text}
            case ThinkingDelta(text):
                return {"reasoning_content": text}
            case _:
                return None

    def wired(self, event: WireDelta) -> bytes:
        """A piece of another answer, or what stands beside one, as its provider said it."""
        self.around |= event.around
        delta = {"content": event.text, "reasoning_content": event.thinking}
        said = {name: text for name, text in delta.items() if text}
        return self.chunk({**event.within, **said}, place=event.choice, beside=event.beside)

    def ending(self, ended: RunEnded | None) -> list[bytes]:
        """The finish, the usage if asked for, and `[DONE]`; after a failure the error alone.

        Official clients raise on the error, and would take a clean end for success.
        """
        self.is_over = True
        error = failure_of(self.opened.runner, ended) if ended else None
        if error is not None:
            log.warning("stream_incomplete", run_id=str(self.opened.runner.run_id), code=error.code)
            frames = [b"data: %s\n\n" % orjson.dumps(error.body(), default=str)]
            return [*frames, DONE] if settings.STREAM_DONE_AFTER_ERROR else frames
        reasons = [ended.finish_reason, *(ended.others or [])] if ended else ["stop"]
        frames = [self.chunk({}, reason, place) for place, reason in enumerate(reasons)]
        if self.with_usage:
            usage = {**self.head, "object": "chat.completion.chunk", "choices": [], "usage": usage_of(ended)}
            frames.append(b"data: %s\n\n" % orjson.dumps(usage))
        return [*frames, DONE]


def _model_json(model: ServedModel) -> dict[str, Any]:
    return {"id": model.id, "object": "model", "created": model.created, "owned_by": model.owned_by}


def _served(principal: Principal) -> list[ServedModel]:
    agents = queries.agents_to_act_as(principal).filter(status="active").order_by("slug")
    return [
        *(ServedModel(f"agent/{agent.slug}", "atom", int(agent.created_at.timestamp())) for agent in agents),
        *models_of(principal.workspace_id, principal.models),
    ]


@door("GET", scope="chat")
@extend_schema(responses={200: ModelsOut})
async def models(request: HttpRequest, principal: Principal) -> HttpResponseBase:
    served = await in_db(_served, principal)
    if is_asked_by_anthropic(request):
        return JsonResponse(anthropic_list_json(served))
    return JsonResponse({"object": "list", "data": [_model_json(model) for model in served]})


@door("GET", scope="chat")
@extend_schema(responses={200: OneModelOut})
async def model(request: HttpRequest, principal: Principal, model_id: str) -> HttpResponseBase:
    is_anthropic = is_asked_by_anthropic(request)
    for found in await in_db(_served, principal):
        if found.id == model_id:
            return JsonResponse(anthropic_model_json(found) if is_anthropic else _model_json(found))
    missing = ModelNotFound(f"There is no model '{model_id}'.", param="model")
    if is_anthropic:
        return anthropic_refusal(missing)
    raise missing


@door("GET", scope=("metrics", "chat"))
@extend_schema(parameters=[WINDOW], responses={200: ProviderFigures})
async def metrics_of_providers(request: HttpRequest, principal: Principal) -> HttpResponseBase:
    return JsonResponse(await provider_metrics(principal.workspace_id, request.GET.get("window")))
