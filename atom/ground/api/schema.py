"""The OpenAPI description of every address under `/api/` and `/v1/`: what drf-spectacular must be told about ours.

Serializers are the source of all shapes. An operation says its own with `extend_schema`; what all have in common
(errors, keys, who may ask) is added here.
"""

import re
from collections.abc import Sequence
from dataclasses import is_dataclass
from datetime import date, datetime
from typing import Any, cast, get_args, get_origin, get_type_hints
from uuid import UUID

from drf_spectacular.authentication import SessionScheme
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiParameter, inline_serializer
from rest_framework import serializers

DOCUMENTED = ("/api/", "/v1/")
# The description and its page do not describe themselves.
LEFT_OUT = ("/api/schema/", "/api/docs/")
ANTHROPIC = ("/v1/messages",)

STREAM = "text/event-stream"
AGENT = OpenApiParameter("agent", str, description="The slug of an agent.")


class Described(AutoSchema):
    """Names operations after their address: `post_api_agents_by_agent_chat`."""

    def get_operation_id(self) -> str:
        words = re.sub(r"\{(\w+)\}", r"by_\1", self.path)
        return f"{self.method.lower()}_{'_'.join(re.findall(r'[A-Za-z0-9]+', words))}"

    def get_tags(self) -> list[str]:
        """The first word after `/api/`, or the wire's surface."""
        surface, first = [*self.path.strip("/").split("/"), ""][:2]
        return [first if surface == "api" else surface]


class TokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # its metaclass is not typed
    """An access token; `x-api-key` and `x-goog-api-key` carry it too."""

    target_class = "atom.ground.api.authentication.TokenAuthentication"
    name = "token"

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, Any]:
        return {"type": "http", "scheme": "bearer", "description": "An access token, `sk-atom-…`."}


class CookieScheme(SessionScheme):  # type: ignore[no-untyped-call]  # its metaclass is not typed
    """Somebody signed in to the admin."""

    target_class = "atom.ground.api.authentication.CookieAuthentication"
    name = "cookie"


def shape_of(kind: type) -> type[serializers.Serializer[Any]]:
    """The shape of a dataclass that is answered as it is, under its own name."""
    if kind not in _SHAPES:
        fields = {name: _field_of(hint) for name, hint in get_type_hints(kind).items()}
        _SHAPES[kind] = type(f"{kind.__name__}Shape", (serializers.Serializer,), {**fields, "__doc__": kind.__doc__})
    return _SHAPES[kind]


_SHAPES: dict[type, type[serializers.Serializer[Any]]] = {}
_PLAIN: dict[Any, type[serializers.Field[Any, Any, Any, Any]]] = {
    str: serializers.CharField,
    int: serializers.IntegerField,
    float: serializers.FloatField,
    bool: serializers.BooleanField,
    UUID: serializers.UUIDField,
    date: serializers.DateField,
    datetime: serializers.DateTimeField,
}


def _field_of(hint: Any) -> serializers.Field[Any, Any, Any, Any]:
    inner = get_args(hint)
    if type(None) in inner:
        [hint] = [one for one in inner if one is not type(None)]
        return _made(hint, allow_null=True)
    return _made(hint)


def _made(hint: Any, **given: Any) -> serializers.Field[Any, Any, Any, Any]:
    """The field of a type that is not a union; lists hold one type, mappings have words for keys."""
    inner = get_args(hint)
    if is_dataclass(hint):
        return shape_of(cast(type, hint))(**given)
    if get_origin(hint) is dict:
        return serializers.DictField(child=_field_of(inner[1]), **given)
    if get_origin(hint) in (list, tuple, Sequence):
        return serializers.ListSerializer(child=_field_of(inner[0]), **given)
    return _PLAIN[hint](**given)


def whole_list(row: type[serializers.BaseSerializer[Any]]) -> serializers.BaseSerializer[Any]:
    """A list that is given as one page."""
    nothing: dict[str, Any] = {"allow_null": True, "help_text": "Always null: there is one page."}
    return cast(
        serializers.BaseSerializer[Any],
        inline_serializer(
            f"All{row.__name__}",
            {
                "results": row(many=True),
                "next": serializers.CharField(**nothing),
                "previous": serializers.CharField(**nothing),
            },
        ),
    )


# --- Hooks ----------------------------------------------------------------------------------------------
def documented(endpoints: list[tuple[str, str, str, Any]]) -> list[tuple[str, str, str, Any]]:
    """Of all addresses those that are described."""
    return [one for one in endpoints if one[0].startswith(DOCUMENTED) and not one[0].startswith(LEFT_OUT)]


def with_errors_and_headers(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """To every operation its errors, and to every POST its Idempotency-Key."""
    _mend(result)
    result["components"].setdefault("schemas", {}).update(Error=ERROR, AnthropicError=ANTHROPIC_ERROR)
    for path, operations in result["paths"].items():
        shape = "AnthropicError" if path.startswith(ANTHROPIC) else "Error"
        for method, operation in operations.items():
            content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{shape}"}}}
            operation["responses"]["default"] = {"description": "What went wrong.", "content": content}
            if method == "post":
                operation.setdefault("parameters", []).append(IDEMPOTENCY_KEY)
    return result


def _mend(value: Any) -> None:
    """JSON of any kind that may be null is described as any or null, of which exactly one may hold: null is both."""
    if isinstance(value, dict):
        if value.get("oneOf") == [{}, {"type": "null"}]:
            del value["oneOf"]
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            _mend(inner)


IDEMPOTENCY_KEY = {
    "in": "header",
    "name": "Idempotency-Key",
    "schema": {"type": "string", "maxLength": 255},
    "description": "The same request with the same key has its effect once and its answer again, for a day.",
}
ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "code", "param"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "code": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "details": {},
            },
        }
    },
}
ANTHROPIC_ERROR = {
    "type": "object",
    "required": ["type", "error"],
    "properties": {
        "type": {"const": "error"},
        "error": {
            "type": "object",
            "required": ["type", "message", "code"],
            "properties": {
                "type": {"type": "string"},
                "message": {"type": "string"},
                "code": {"type": "string"},
                "details": {},
            },
        },
    },
}
