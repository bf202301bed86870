"""Errors in Anthropic's shape: `{"type": "error", "error": {"type", "message"}, "request_id"}`.

The kinds are those of https://docs.anthropic.com/en/api/errors; our own `code` stands beside them.
"""

from typing import Any

import orjson
from django.http import HttpResponse

from atom.ground.api.errors import error_headers
from atom.ground.errors import AtomError

KINDS = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def kind_of(error: AtomError) -> str:
    return KINDS.get(error.status, "invalid_request_error" if error.status < 500 else "api_error")


def error_json(error: AtomError) -> dict[str, Any]:
    """`code` and `details` are Atom's own, for programs that know it."""
    own = {"code": error.code, **({"details": error.details} if error.details else {})}
    return {"type": "error", "error": {"type": kind_of(error), "message": error.message, **own}}


def refuse(error: AtomError) -> HttpResponse:
    body = orjson.dumps(error_json(error), default=str)
    return HttpResponse(body, status=error.status, content_type="application/json", headers=error_headers(error))
