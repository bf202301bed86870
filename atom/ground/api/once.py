"""Idempotency-Key at the doors: `once` for async views; `APIView` and `ListAPIView` for REST framework's.

Every POST of ours takes the header; a request without one costs nothing more. Only 2xx answers are remembered, and
5xx ones after an effect.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial, wraps
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

import structlog
from django.db import transaction
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from rest_framework import generics, views
from rest_framework.request import Request
from rest_framework.response import Response

from atom.ground.api.authentication import who
from atom.ground.api.errors import as_atom_error, error_response
from atom.ground.database import in_db
from atom.ground.errors import AtomError
from atom.ground.idempotency import Asked, Claim, KeyInFlight, Stored, asked, free, keep, key_of, take
from atom.ground.principal import Principal

log = structlog.get_logger(__name__)
P = ParamSpec("P")
M = TypeVar("M", bound=Model)
KeyedView = Callable[Concatenate[HttpRequest, Principal, Claim | None, P], Awaitable[HttpResponseBase]]
View = Callable[Concatenate[HttpRequest, Principal, P], Awaitable[HttpResponseBase]]

# Between a key's first request and its run lie a few looks at the database, unless its process died there.
BEGIN_WITHIN_S, LOOK_EVERY_S = 5.0, 0.05
# Of an answer these come back with it; others belong to the one exchange.
KEPT_HEADERS = ("content-type", "location", "x-atom-run", "x-atom-provider", "x-atom-model", "x-atom-attempts",
                "x-atom-warning", "request-id")  # fmt: skip


def asked_with_key(request: HttpRequest | Request, principal: Principal, body: bytes) -> Asked | None:
    """The request as far as keys are concerned; None without a key."""
    header = request.META.get("HTTP_IDEMPOTENCY_KEY")
    if header is None:
        return None
    return asked(
        principal,
        key=key_of(header),
        method=request.method or "",
        path=request.path,
        query=request.META.get("QUERY_STRING", ""),
        body=body,
    )


def replayed(stored: Stored) -> HttpResponse:
    headers = {**stored.headers, "Idempotent-Replayed": "true"}
    return HttpResponse(stored.body, status=stored.status, headers=headers)


def is_joining(request: HttpRequest) -> bool:
    """`Idempotency-Join: true`: follow the run that is at work, from its start, instead of a 409."""
    join: str = request.META.get("HTTP_IDEMPOTENCY_JOIN", "")
    return join.strip().lower() == "true"


async def take_begun(wanted: Asked) -> Claim | Stored:
    """Like `take`, for who would rather join: the first request is given a while to begin its run."""
    give_up_at = time.monotonic() + BEGIN_WITHIN_S
    while True:
        try:
            return await in_db(take, wanted)
        except KeyInFlight:
            if time.monotonic() > give_up_at:
                raise
        await asyncio.sleep(LOOK_EVERY_S)


def once(*, refuse: Callable[[AtomError], HttpResponse] = error_response) -> Callable[[KeyedView[P]], View[P]]:
    """Inside `door`, which has the same `refuse`: the view gets the claim on its request's key after the principal.

    The claim is None without a key.
    """

    def wrap(view: KeyedView[P]) -> View[P]:
        @wraps(view)
        async def keyed(
            request: HttpRequest, principal: Principal, *args: P.args, **kwargs: P.kwargs
        ) -> HttpResponseBase:
            wanted = asked_with_key(request, principal, request.body)
            if wanted is None:
                return await view(request, principal, None, *args, **kwargs)
            found = await (take_begun(wanted) if is_joining(request) else in_db(take, wanted))
            if isinstance(found, Stored):
                return replayed(found)
            try:
                response = await view(request, principal, found, *args, **kwargs)
            except Exception as exc:
                error = as_atom_error(exc)
                if type(error) is AtomError:
                    log.exception("request_failed", path=request.path)
                response = refuse(error)
            except asyncio.CancelledError:
                # The client has gone. A run that was begun goes on with the key.
                await in_db(free, found, only_unbound=True)
                raise
            await in_db(_settle, found, response)
            return response

        return cast(View[P], keyed)

    return wrap


def _settle(claim: Claim, response: HttpResponseBase) -> None:
    """Remember the answer, forget the request, or leave the key with the run that is still at work."""
    whole = response if isinstance(response, HttpResponse) else None
    if claim.bound_to is not None and (not claim.is_final or whole is None):
        return
    try:
        if whole is not None and claim.is_final and _is_remembered(claim, whole.status_code):
            keep(claim, _stored(whole))
        elif claim.is_own:
            free(claim)
    except KeyInFlight:
        # Somebody else gave the same run's answer first, or took the key of a request that was too slow.
        log.info("idempotency_key_not_ours", key=str(claim.key_id))


def _is_remembered(claim: Claim, status: int) -> bool:
    return 200 <= status < 300 or (status >= 500 and claim.has_effect)


def _stored(response: HttpResponse) -> Stored:
    headers = {name: response.headers[name] for name in KEPT_HEADERS if name in response.headers}
    return Stored(response.status_code, headers, bytes(response.content))


class _Replayed(Exception):
    def __init__(self, stored: Stored) -> None:
        self.stored = stored


class Once(views.APIView):
    """REST framework's views with Idempotency-Key: the effect and its answer are one transaction.

    A view that waits for work outside of the database says `is_one_transaction = False`.
    """

    is_one_transaction = True

    def initialize_request(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Request:
        # Held before anybody reads it as a stream, as the CSRF check of a signed-in person's request does.
        request.body  # noqa: B018  # reading it holds it
        return super().initialize_request(request, *args, **kwargs)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        post = getattr(self, "post", None)
        if request.method != "POST" or post is None:
            return
        wanted = asked_with_key(request, who(request), request._request.body)
        if wanted is None:
            return
        found = take(wanted)
        if isinstance(found, Stored):
            raise _Replayed(found)
        # REST framework looks `post` up after this.
        self.__dict__["post"] = partial(self._post_once, found, post)

    def handle_exception(self, exc: Exception) -> Response:
        if isinstance(exc, _Replayed):
            # A plain answer passes through REST framework untouched.
            return replayed(exc.stored)  # type: ignore[return-value]  # see above
        return super().handle_exception(exc)

    def _post_once(self, claim: Claim, post: Callable[..., Response], *args: Any, **kwargs: Any) -> Response:
        try:
            if not self.is_one_transaction:
                return self._kept(claim, post(*args, **kwargs))
            with transaction.atomic():
                answer = self._answer_or_error(claim, post, *args, **kwargs)
        except Exception:
            free(claim)
            raise
        if isinstance(answer, AtomError):
            free(claim)
            raise answer
        return answer

    def _answer_or_error(
        self, claim: Claim, post: Callable[..., Response], *args: Any, **kwargs: Any
    ) -> Response | AtomError:
        """An error of ours is no reason to roll back what the services meant to keep, such as an audit entry."""
        try:
            answer = post(*args, **kwargs)
        except AtomError as exc:
            return exc
        return self._kept(claim, answer)

    def _kept(self, claim: Claim, answer: Response) -> Response:
        """The answer, rendered here so that exactly these bytes come again."""
        shown = self.finalize_response(self.request, answer)
        shown.render()
        if _is_remembered(claim, shown.status_code):
            keep(claim, _stored(shown))
        else:
            free(claim)
        return shown


class APIView(Once):
    """The base of all our REST views."""


class ListAPIView(Once, generics.ListAPIView[M]):
    """The base of all our lists."""
