"""Errors as HTTP: our tree, Django's and REST framework's, all in the one shape."""

from typing import Any

import orjson
import structlog
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from redis.exceptions import RedisError
from rest_framework import exceptions
from rest_framework.response import Response

from atom.ground.errors import AtomError, BadRequest, Forbidden, NotAuthenticated, NotFound, TooLarge, Unavailable

log = structlog.get_logger(__name__)


class MethodNotAllowed(BadRequest):
    code = "method_not_allowed"
    status = 405


class UnsupportedMediaType(BadRequest):
    code = "unsupported_media_type"
    status = 415


def _first_message(detail: Any, path: str = "") -> tuple[str, str]:
    """The first complaint of a serializer and the field it is about, as `a.b`."""
    if isinstance(detail, dict):
        for name, inner in detail.items():
            below = path if name == "non_field_errors" else f"{path}.{name}".strip(".")
            return _first_message(inner, below)
    if isinstance(detail, list):
        for place, inner in enumerate(detail):
            if inner:
                return _first_message(inner, f"{path}.{place}" if isinstance(inner, dict) else path)
    return path, str(detail)


def as_atom_error(exc: Exception) -> AtomError:
    """The member of our tree that says what `exc` says; anything unforeseen is a plain 500."""
    match exc:
        case AtomError():
            return exc
        case exceptions.ValidationError():
            field, message = _first_message(exc.detail)
            return BadRequest(f"{field}: {message}" if field else message, param=field or None, details=exc.detail)
        case exceptions.NotAuthenticated() | exceptions.AuthenticationFailed():
            return NotAuthenticated()
        case exceptions.PermissionDenied() | PermissionDenied():
            return Forbidden("You may not do this.")
        case exceptions.MethodNotAllowed():
            return MethodNotAllowed("This method is not allowed here.")
        case exceptions.UnsupportedMediaType():
            return UnsupportedMediaType("Send the body as application/json.")
        case RedisError():
            return Unavailable("The store does not answer. Try again in a moment.", retry_after_s=1)
        case exceptions.NotFound() | Http404():
            return NotFound("There is nothing here.")
        case exceptions.APIException() if exc.status_code == 413:
            return TooLarge("The body is too large.")
        case exceptions.APIException() if 400 <= exc.status_code < 500:
            return BadRequest("The request is not valid.")
        case _:
            return AtomError()


def error_headers(error: AtomError) -> dict[str, str]:
    headers = {}
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(max(1, error.retry_after_s))
    return headers


def error_response(error: AtomError) -> HttpResponse:
    """The answer that async doors and plain Django views give."""
    body = orjson.dumps(error.body(), default=str)
    return HttpResponse(body, status=error.status, content_type="application/json", headers=error_headers(error))


def answer_exception(exc: Exception, context: dict[str, Any]) -> Response:
    """REST framework's exception handler."""
    error = as_atom_error(exc)
    if type(error) is AtomError:
        log.exception("request_failed", path=context["request"].path, exc_info=exc)
    return Response(error.body(), status=error.status, headers=error_headers(error))


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """`handler404`."""
    return error_response(NotFound("There is nothing here."))


def server_error(request: HttpRequest) -> HttpResponse:
    """`handler500`."""
    return error_response(AtomError())
