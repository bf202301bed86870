"""`/v1/messages` and `/v1/messages/count_tokens`: the Anthropic wire, governed, in front of any model."""

from collections.abc import AsyncGenerator
from typing import Any

import structlog
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from drf_spectacular.utils import extend_schema

from agents import queries
from agents.api.answers import Opened, failure_of, served_headers
from agents.api.anthropic.errors import error_json, refuse
from agents.api.anthropic.serializers import FAMILY, CountTokens, CreateMessage, request_of
from agents.api.anthropic.shapes import AnthropicMessageOut, TokenCountOut
from agents.api.anthropic.writing import PING, Writer, frame
from agents.api.keyed import note_outcome, run_for
from agents.api.sse import sse_response
from agents.runs.events import RunEnded
from atom.ground.api.doors import door, read_by, validated
from atom.ground.api.once import once
from atom.ground.api.parsing import parse_object
from atom.ground.api.schema import STREAM
from atom.ground.database import in_db
from atom.ground.errors import AtomError
from atom.ground.idempotency import Claim
from atom.ground.models import Scope
from atom.ground.principal import Principal
from llm.context import tokens_of, tokens_of_tools
from llm.thinking import split

log = structlog.get_logger(__name__)


@door("POST", scope=Scope.CHAT, refuse=refuse, is_hot=True)
@once(refuse=refuse)
@extend_schema(request=CreateMessage, responses={200: AnthropicMessageOut, (200, STREAM): str})
async def messages(request: HttpRequest, principal: Principal, claim: Claim | None) -> HttpResponseBase:
    data = read_by(CreateMessage, parse_object(request.body))
    runner = await run_for(request, principal, request_of(data), door="anthropic", claim=claim)
    answer = Answer(Opened(runner), data)
    try:
        response = await answer.response()
    except AtomError as exc:
        response = refuse(exc)
        for name, value in answer.headers().items():
            response[name] = value
    if isinstance(response, HttpResponse):
        await note_outcome(claim, runner)
    return response


@door("POST", scope=Scope.CHAT, refuse=refuse)
@extend_schema(request=CountTokens, responses={200: TokenCountOut})
async def count_tokens(request: HttpRequest, principal: Principal) -> HttpResponseBase:
    """About how many tokens the conversation has: nobody is called, so no tokenizer but our own guess is asked."""
    asked = request_of(validated(CountTokens(data=parse_object(request.body))))
    await in_db(queries.agent_for_model, principal, asked.model)
    return JsonResponse({"input_tokens": tokens_of(asked.messages) + tokens_of_tools(asked)})


def error_frame(error: AtomError) -> bytes:
    return frame("error", **{name: value for name, value in error_json(error).items() if name != "type"})


class Answer:
    """One answer in Anthropic's shape, whole or event by event."""

    def __init__(self, opened: Opened, data: dict[str, Any]) -> None:
        self.opened = opened
        self.is_stream: bool = data["stream"]
        self.writer = Writer(f"msg_{opened.runner.run_id.hex}", data["model"])
        self.warning = split(data["model"], family=FAMILY).warning

    def headers(self) -> dict[str, str]:
        warned = {"x-atom-warning": self.warning} if self.warning else {}
        return {
            **served_headers(self.opened.runner),
            "request-id": f"req_{self.opened.runner.run_id.hex}",
            **warned,
        }

    async def response(self) -> HttpResponseBase:
        await self.opened.begin()
        return sse_response(self.frames(), self.headers(), tell=error_frame) if self.is_stream else await self.whole()

    async def whole(self) -> HttpResponse:
        async for event in self.opened.told():
            if isinstance(event, RunEnded) and (error := failure_of(self.opened.runner, event)):
                raise error
            if event is not None:
                self.writer.tell(event)
        return JsonResponse(self.writer.message(), headers=self.headers())

    async def frames(self) -> AsyncGenerator[bytes, None]:
        """The official client raises on an `error` event, and takes nothing else for a failure."""
        yield self.writer.begin()
        async for event in self.opened.told():
            if event is None:
                yield PING
            elif isinstance(event, RunEnded) and (error := failure_of(self.opened.runner, event)):
                log.warning("stream_incomplete", run_id=str(self.opened.runner.run_id), code=error.code)
                yield error_frame(error)
            else:
                yield self.writer.tell(event)
