"""JSON schemas of tools: is the schema one, and do arguments fit it. Patterns are searched in linear time."""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import orjson
import re2
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError
from jsonschema.validators import extend
from referencing import Registry
from referencing.exceptions import Unresolvable

MAX_SCHEMA_BYTES = 100_000
SHOWN_CHARS = 200


def _pattern(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[ValidationError]:
    # Python's own engine can be kept busy for years by a pattern and a text that fit each other.
    if isinstance(instance, str) and re2.search(pattern, instance) is None:
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


_Checker = extend(Draft202012Validator, {"pattern": _pattern})  # type: ignore[no-untyped-call]  # not typed


def schema_problem(schema: Any) -> tuple[str, str]:
    """What is wrong with a tool's schema and where (`properties.id.type`); two empty texts for a good one."""
    if not isinstance(schema, dict) or schema.get("type", "object") != "object":
        return "The arguments of a tool are an object: the schema's type must be 'object'.", "type"
    if len(orjson.dumps(schema)) > MAX_SCHEMA_BYTES:
        return f"The schema is larger than {MAX_SCHEMA_BYTES} bytes.", ""
    try:
        _Checker.check_schema(schema)
    except SchemaError as exc:
        return _short(exc.message), ".".join(map(str, exc.absolute_path))
    except RecursionError:
        return "The schema is nested too deeply.", ""
    return _unusable(schema, "")


def _unusable(schema: Any, place: str) -> tuple[str, str]:
    """Patterns that the engine does not know, and references to elsewhere, which nobody fetches."""
    below = schema.items() if isinstance(schema, dict) else enumerate(schema) if isinstance(schema, list) else ()
    for name, value in below:
        at = f"{place}.{name}".strip(".")
        if name == "pattern" and isinstance(value, str):
            try:
                re2.compile(value)
            except re2.error:
                return f"The pattern {_short(value)} is not one that RE2 knows.", at
        if name == "patternProperties":
            return "patternProperties is not supported; name the properties.", at
        if name == "$ref" and isinstance(value, str) and not value.startswith("#"):
            return "A $ref may only point into the schema itself.", at
        found = _unusable(value, at)
        if found[0]:
            return found
    return "", ""


def problem_with(arguments: Any, schema: dict[str, Any]) -> str:
    """The first thing by which `arguments` do not fit, with its place; empty when they fit."""
    try:
        error = next(_checker(orjson.dumps(schema)).iter_errors(arguments), None)
    except Unresolvable:
        return "the tool's own schema points at a part that it does not have."
    except RecursionError:
        return "they are nested too deeply."
    if error is None:
        return ""
    place = ".".join(map(str, error.absolute_path))
    return f"at {place}: {_short(error.message)}" if place else _short(error.message)


@lru_cache(maxsize=1024)
def _checker(schema: bytes) -> Any:
    # A registry of its own and empty: nothing is fetched, whatever a reference says.
    return _Checker(orjson.loads(schema), registry=Registry())


def _short(text: str) -> str:
    """Its beginning and its end: these messages begin with the value and end with what was wanted."""
    half = SHOWN_CHARS // 2
    return text if len(text) <= SHOWN_CHARS else f"{text[:half]}…{text[-half:]}"
