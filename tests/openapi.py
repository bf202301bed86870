"""Holds real requests and answers against the OpenAPI description that Atom gives of itself."""

import json
import re
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker
from rest_framework.test import APIClient

from atom.schema import described

NO_BODY = (204, 205, 304)
Operation = dict[str, Any]


@cache
def description() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(described())
    return found


def _part(name: re.Match[str]) -> str:
    """Only a model's id may have a slash in it."""
    return ".+" if name[1] == "model_id" else "[^/]+"


@cache
def _addresses() -> list[tuple[re.Pattern[str], str]]:
    """Those without variables first: `feedback/analytics/` is not the feedback called analytics."""
    paths = sorted(description()["paths"], key=lambda path: ("{" in path, -len(path)))
    return [(re.compile(re.sub(r"\\{(\w+)\\}", _part, re.escape(path))), path) for path in paths]


def operation_of(method: str, path: str) -> Operation | None:
    """The description of a call; None where there is none."""
    for pattern, template in _addresses():
        if pattern.fullmatch(path):
            found: Operation | None = description()["paths"][template].get(method.lower())
            return found
    return None


def misfit(schema: dict[str, Any], value: object) -> str | None:
    """What of a value is not as the schema says."""
    whole = {**schema, "components": description()["components"]}
    found = sorted(Draft202012Validator(whole, format_checker=FormatChecker()).iter_errors(value), key=str)
    return f"{found[0].json_path}: {found[0].message}" if found else None


def check_answer(operation: Operation, status: int, content_type: str, body: bytes) -> None:
    """A success is one of those described, anything else is an error in the one shape."""
    answers = operation["responses"]
    assert status >= 400 or str(status) in answers, f"{operation['operationId']} does not tell of {status}"
    answer = answers.get(str(status)) or answers["default"]
    if status in NO_BODY or "content" not in answer:
        assert not body or status >= 400, f"{operation['operationId']}: {status} has a body"
        return
    kind = content_type.partition(";")[0]
    assert kind in answer["content"], f"{operation['operationId']} does not tell of {kind}"
    if kind == "application/json":
        wrong = misfit(answer["content"][kind]["schema"], json.loads(body))
        assert wrong is None, f"{operation['operationId']} {status} answers otherwise than described: {wrong}"


def check_asked(operation: Operation, query: list[str], body: object) -> None:
    """What was taken is described: its parameters, and its body."""
    known = {one["name"] for one in operation.get("parameters", ()) if one["in"] == "query"}
    assert set(query) <= known, f"{operation['operationId']} does not tell of {sorted(set(query) - known)}"
    described_body = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if body and described_body:
        wrong = misfit(described_body["schema"], body)
        assert wrong is None, f"{operation['operationId']} takes otherwise than described: {wrong}"


class CheckedClient(APIClient):
    """Every call of the tests through it must be as described."""

    def generic(  # type: ignore[override]  # its three bases do not agree either
        self, method: str, path: str, data: Any = "", *args: Any, **given: Any
    ) -> Any:
        answer = super().generic(method, path, data, *args, **given)
        address, _, _query = str(path).partition("?")
        operation = operation_of(method, address)
        if operation is None or getattr(answer, "streaming", False) or answer.status_code == 405:
            return answer
        check_answer(operation, answer.status_code, answer.headers.get("Content-Type", ""), answer.content)
        if answer.status_code < 400:
            asked = answer.wsgi_request.GET if hasattr(answer, "wsgi_request") else {}
            sent = json.loads(data) if data and method in ("POST", "PATCH") else None
            check_asked(operation, list(asked), sent)
        return answer
