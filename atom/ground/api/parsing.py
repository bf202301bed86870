"""JSON bodies: too deep, NULs and lone surrogates are refused with a 400, never stored, never a 500."""

from collections.abc import Mapping
from typing import IO, Any

import orjson
from django.conf import settings
from rest_framework.parsers import BaseParser

from atom.ground.errors import BadRequest, TooLarge

MAX_DEPTH = 64


def parse_json(body: bytes) -> Any:
    """The value in `body`; raise BadRequest or TooLarge with the reason."""
    if len(body) > settings.MAX_BODY_BYTES:
        raise TooLarge(f"The body is larger than {settings.MAX_BODY_BYTES} bytes.")
    try:
        value = orjson.loads(body)
    except (orjson.JSONDecodeError, RecursionError) as exc:
        raise BadRequest("The body is not valid JSON.", details=None) from exc
    _check(value)
    return value


def parse_object(body: bytes) -> dict[str, Any]:
    """Like `parse_json`, and the value must be an object."""
    value = parse_json(body)
    if not isinstance(value, dict):
        raise BadRequest("The body must be a JSON object.")
    return value


def _check(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for item in level:
            if isinstance(item, str):
                if "\x00" in item:
                    raise BadRequest("The body contains a NUL character.")
            elif isinstance(item, dict):
                below.extend(item.keys())
                below.extend(item.values())
            elif isinstance(item, list):
                below.extend(item)
        if not below:
            return
        level = below
    raise BadRequest(f"The body is nested deeper than {MAX_DEPTH} levels.")


class StrictJSONParser(BaseParser):
    """REST framework's way in to `parse_json`."""

    media_type = "application/json"

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        return parse_json(stream.read())
