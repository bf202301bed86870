"""Who is asking, for every door: bearer token, `x-api-key`, `x-goog-api-key`, or the admin's cookie."""

from typing import TYPE_CHECKING, Any, cast

from django.http import HttpRequest
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from atom.ground import tokens
from atom.ground.database import in_db_once
from atom.ground.errors import NotAuthenticated
from atom.ground.principal import Principal

if TYPE_CHECKING:  # REST framework imports this module while it imports its views
    from rest_framework.views import APIView


def presented_token(request: HttpRequest | Request) -> str | None:
    """The token in the request's headers, or None when it carries none."""
    # Not `headers`: they are made of all that came, and a hot door asks for a few.
    meta: dict[str, str] = request.META
    authorization = meta.get("HTTP_AUTHORIZATION", "")
    scheme, _, credential = authorization.partition(" ")
    if scheme.lower() == "bearer" and credential.strip():
        return credential.strip()
    return meta.get("HTTP_X_API_KEY") or meta.get("HTTP_X_GOOG_API_KEY") or None


async def principal_of_token(secret: str | None) -> Principal:
    """The principal for async doors: from memory if seen within a second, else from the database."""
    if not secret:
        raise NotAuthenticated
    found = tokens.recalled(secret)
    return await in_db_once(tokens.authenticate, secret) if found is None else found


def who(request: Request) -> Principal:
    """The principal of an authenticated REST framework request."""
    return cast(Principal, request.user)


class TokenAuthentication(BaseAuthentication):
    def authenticate(self, request: Request) -> tuple[Any, Any] | None:
        secret = presented_token(request)
        if secret is None:
            # A header that is there but says nothing usable is a bad token, not a visitor with a cookie.
            if request.headers.get("Authorization"):
                raise NotAuthenticated
            return None
        principal = tokens.recalled(secret) or tokens.authenticate(secret)
        return principal, None

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


class CookieAuthentication(SessionAuthentication):
    """Somebody signed in to the admin; with Django's CSRF check."""

    def authenticate(self, request: Request) -> tuple[Any, Any] | None:
        found = super().authenticate(request)
        if found is None:
            return None
        return tokens.principal_of_user(found[0].pk), None


class HasScope(BasePermission):
    """A view names its scope in `scope`, or one for each action in `scopes`; without either it needs a sign-in only."""

    def has_permission(self, request: Request, view: "APIView") -> bool:
        if not isinstance(request.user, Principal):
            raise NotAuthenticated
        by_action: dict[str, str] = getattr(view, "scopes", {})
        scope = by_action.get(getattr(view, "action", ""), getattr(view, "scope", None))
        if scope is not None:
            request.user.require(scope)
        return True
