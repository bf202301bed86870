"""Async doors: who asks, with which scope, what they sent; errors leave in the one shape."""

from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
from functools import cached_property, wraps
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

import structlog
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from rest_framework.fields import Field, empty
from rest_framework.serializers import BaseSerializer, Serializer
from rest_framework.views import APIView

from atom.ground import journal
from atom.ground.api.authentication import TokenAuthentication, presented_token, principal_of_token
from atom.ground.api.errors import MethodNotAllowed, as_atom_error, error_response
from atom.ground.errors import AtomError
from atom.ground.principal import Principal

log = structlog.get_logger(__name__)
P = ParamSpec("P")
S = TypeVar("S", bound=BaseSerializer[Any])

View = Callable[Concatenate[HttpRequest, P], Coroutine[Any, Any, HttpResponseBase]]


def door(
    method: str,
    *,
    scope: str | tuple[str, ...],
    refuse: Callable[[AtomError], HttpResponse] = error_response,
    is_hot: bool = False,
) -> Callable[[Callable[Concatenate[HttpRequest, Principal, P], Awaitable[HttpResponseBase]]], View[P]]:
    """Wrap an async view: it gets the principal, and whatever it raises becomes an answer.

    Of several scopes any one will do. `refuse` writes an error in the shape of its surface.

    `is_hot`: it does not miss what the journal holds, so it need not wait for it.

    These views run without Django's middleware, so they take tokens only, never a cookie.
    """

    scopes = (scope,) if isinstance(scope, str) else scope

    def wrap(view: Callable[Concatenate[HttpRequest, Principal, P], Awaitable[HttpResponseBase]]) -> View[P]:
        @wraps(view)
        async def opened(request: HttpRequest, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
            try:
                principal = await principal_of_token(presented_token(request))
                if request.method != method:
                    raise MethodNotAllowed("This method is not allowed here.")
                if principal.scopes.isdisjoint(scopes):
                    principal.require(scopes[0])
                if not is_hot:
                    await journal.settled()
                return await view(request, principal, *args, **kwargs)
            except Exception as exc:
                error = as_atom_error(exc)
                if type(error) is AtomError:
                    log.exception("request_failed", path=request.path)
                return refuse(error)

        opened.csrf_exempt = True  # type: ignore[attr-defined]  # how Django marks a view; tokens need no CSRF check
        return _described(cast(View[P], opened), **{method: opened})

    return wrap


def by_method(**views: View[P]) -> View[P]:
    """One address with a door for each method; any other method is the first door's to refuse."""

    async def opened(request: HttpRequest, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        view = views.get(request.method or "") or next(iter(views.values()))
        return await view(request, *args, **kwargs)

    opened.csrf_exempt = True  # type: ignore[attr-defined]  # as above
    return _described(cast(View[P], opened), **views)


class AsyncDoor(APIView):
    """What the OpenAPI description looks at in place of async views; nobody calls it."""

    authentication_classes = (TokenAuthentication,)


def _described(view: View[P], **methods: Any) -> View[P]:
    # What drf-spectacular asks a view for.
    view.cls = type("Door", (AsyncDoor,), {name.lower(): method for name, method in methods.items()})  # type: ignore[attr-defined]
    view.initkwargs = {}  # type: ignore[attr-defined]  # what spectacular asks a view for
    return view


class QuickSerializer(Serializer[Any]):
    """Asks only the fields that the body has, and those that say something without it: most bodies have few."""

    _given: Collection[str] = ()

    def to_internal_value(self, data: Any) -> Any:
        self._given = data.keys() if isinstance(data, Mapping) else ()
        return super().to_internal_value(data)

    @property
    def _writable_fields(self) -> list[Field[Any, Any, Any, Any]]:
        wanted = self._never_silent.union(self._given)
        return [field for name, field in self.fields.items() if name in wanted]

    @cached_property
    def _never_silent(self) -> frozenset[str]:
        return frozenset(name for name, field in self.fields.items() if field.required or field.default is not empty)

    def run_validators(self, value: Any) -> None:
        # Without any, much is made ready for none.
        if self.validators:
            super().run_validators(value)


_READERS: dict[type[QuickSerializer], QuickSerializer] = {}


def read_by(kind: type[QuickSerializer], body: dict[str, Any]) -> dict[str, Any]:
    """`validated` for hot doors: making a serializer takes longer than asking it, so each kind is made once.

    For serializers whose checks look at their values alone.
    """
    if kind not in _READERS:
        _READERS[kind] = kind()
    data: dict[str, Any] = _READERS[kind].run_validation(body)
    return data


def validated(serializer: S) -> dict[str, Any]:
    """The serializer's data, or its complaint as a BadRequest."""
    serializer.is_valid(raise_exception=True)
    data: dict[str, Any] = serializer.validated_data
    return data
