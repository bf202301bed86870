"""`/api/models/`: what can be called at which price, a workspace's prices and aliases, why `auto` chooses whom."""

from dataclasses import asdict
from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from atom.ground.api.authentication import who
from atom.ground.api.once import APIView
from atom.ground.api.schema import whole_list
from llm import model_queries, model_services
from llm.api.serializers import AliasOut, ExplainedOut, ModelOut, NewAlias, NewPrice, PriceOut, RankedOut
from llm.messages import Image, Message, Part, Role, Text, Thinking, Tool
from llm.messages import Request as ModelRequest
from llm.routing import AUTO, Explained

ROLES: tuple[Role, ...] = ("system", "user", "assistant", "tool")


class Models(APIView):
    """The models of every provider that this workspace can call; set a price of its own for one."""

    scope = "chat"

    @extend_schema(responses=whole_list(ModelOut))
    def get(self, request: Request) -> Response:
        rows = model_queries.models_and_prices(who(request))
        return Response({"results": ModelOut(rows, many=True).data, "next": None, "previous": None})

    @extend_schema(request=NewPrice, responses={200: PriceOut, 201: PriceOut})
    def post(self, request: Request) -> Response:
        principal = who(request)
        principal.require("admin")
        data = NewPrice(data=request.data)
        data.is_valid(raise_exception=True)
        row, is_new = model_services.set_price(
            workspace_id=principal.workspace_id, by=principal.username, **data.validated_data
        )
        return Response(PriceOut(row).data, status=201 if is_new else 200)


class PriceDetail(APIView):
    """One price of the workspace's own."""

    scope = "admin"

    @extend_schema(responses={204: None})
    def delete(self, request: Request, price_id: UUID) -> Response:
        price = model_queries.get_price(who(request), price_id)
        model_services.delete_price(price=price, by=who(request).username)
        return Response(status=204)


class Aliases(APIView):
    """The workspace's own names for models; set one."""

    scope = "chat"

    @extend_schema(responses=whole_list(AliasOut))
    def get(self, request: Request) -> Response:
        rows = model_queries.aliases_of(who(request))
        return Response({"results": AliasOut(rows, many=True).data, "next": None, "previous": None})

    @extend_schema(request=NewAlias, responses={200: AliasOut, 201: AliasOut})
    def post(self, request: Request) -> Response:
        principal = who(request)
        principal.require("admin")
        data = NewAlias(data=request.data)
        data.is_valid(raise_exception=True)
        row, is_new = model_services.set_alias(
            workspace_id=principal.workspace_id, by=principal.username, **data.validated_data
        )
        return Response(AliasOut(row).data, status=201 if is_new else 200)


class AliasDetail(APIView):
    """One alias."""

    scope = "admin"

    @extend_schema(responses={204: None})
    def delete(self, request: Request, alias_id: UUID) -> Response:
        alias = model_queries.get_alias(who(request), alias_id)
        model_services.delete_alias(alias=alias, by=who(request).username)
        return Response(status=204)


class Asked(serializers.Serializer[Any]):
    """As a chat completion is asked for, as far as it matters to the choice; everything may be left out."""

    model = serializers.CharField(max_length=200, default=AUTO)
    messages = serializers.ListField(child=serializers.DictField(), default=list)
    tools = serializers.ListField(child=serializers.DictField(), default=list, max_length=256)
    response_format = serializers.DictField(required=False, allow_null=True)
    max_tokens = serializers.IntegerField(min_value=1, required=False, allow_null=True)
    reasoning_effort = serializers.CharField(max_length=20, required=False, allow_null=True)


class Route(APIView):
    """Explain a choice: who would be called, how each model fares, and why the others are not. Calls nothing."""

    scope = "chat"

    @extend_schema(request=Asked, responses=ExplainedOut)
    def post(self, request: Request) -> Response:
        data = Asked(data=request.data)
        data.is_valid(raise_exception=True)
        asked = _request_of(data.validated_data)
        return Response(_explained_json(model_queries.explained(who(request), asked)))


def _request_of(data: dict[str, Any]) -> ModelRequest:
    effort = data.get("reasoning_effort")
    return ModelRequest(
        model=data["model"],
        messages=tuple(_message(raw) for raw in data["messages"]),
        tools=tuple(_tool(raw) for raw in data["tools"]),
        response_format=data.get("response_format"),
        max_tokens=data.get("max_tokens"),
        thinking=Thinking(level=effort) if effort else None,
    )


def _message(raw: dict[str, Any]) -> Message:
    """What of a message matters to the choice: who says it, its text, that there are images."""
    role: Role = next((one for one in ROLES if raw.get("role") == one), "user")
    content = raw.get("content")
    parts: list[Part] = []
    for part in content if isinstance(content, list) else [{"text": content}]:
        if isinstance(part, dict) and part.get("type") in ("image_url", "input_image", "image"):
            parts.append(Image(""))
        elif isinstance(part, dict) and isinstance(part.get("text"), str):
            parts.append(Text(part["text"]))
    return Message(role, tuple(parts))


def _tool(raw: dict[str, Any]) -> Tool:
    function = raw.get("function")
    found = function if isinstance(function, dict) else raw
    parameters = found.get("parameters")
    name, description = str(found.get("name") or ""), str(found.get("description") or "")
    return Tool(name, description, parameters if isinstance(parameters, dict) else {})


def _explained_json(found: Explained) -> dict[str, Any]:
    needs = {**asdict(found.needs), "complexity": found.needs.complexity.word}
    chosen = dict.fromkeys(f"{one.provider}/{one.model}" for one in found.chosen)
    return {
        "model": found.meant,
        "complexity": found.needs.complexity.word,
        "needs": needs,
        "chosen": next(iter(chosen), None),
        "order": list(chosen),
        "candidates": RankedOut(found.rows, many=True).data,
        "error": found.error.message if found.error else None,
    }
