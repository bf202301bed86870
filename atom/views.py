"""Health, metrics, and the root: what stands at the addresses that are nobody's room."""

from ipaddress import ip_address

from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse

from atom import prometheus
from atom.ground.api.authentication import presented_token, principal_of_token
from atom.ground.api.errors import MethodNotAllowed, error_response
from atom.ground.database import in_db
from atom.ground.draining import is_draining
from atom.ground.errors import AtomError, NotAuthenticated
from atom.ground.health import failing_parts
from atom.ground.models import Scope


async def healthz(request: HttpRequest) -> HttpResponse:
    """The process is alive."""
    return JsonResponse({"status": "alive"})


async def readyz(request: HttpRequest) -> HttpResponse:
    """200 when database, store and worker answer; else 503 with the failing parts, and from a drain's first moment."""
    failing = ["draining"] if is_draining() else await failing_parts()
    if failing:
        return JsonResponse({"status": "unready", "failing": failing}, status=503)
    return JsonResponse({"status": "ready", "failing": []})


async def health(request: HttpRequest) -> HttpResponse:
    failing = await failing_parts()
    status = "degraded" if failing else "healthy"
    body = {"status": status, "version": settings.ATOM_VERSION, "failing": failing}
    return JsonResponse(body, status=503 if failing else 200)


async def metrics(request: HttpRequest) -> HttpResponse:
    """Figures for Prometheus: for a token with the scope `metrics`, and without one for this very machine."""
    try:
        if request.method not in {"GET", "HEAD"}:
            raise MethodNotAllowed("This method is not allowed here.")
        seen = await _seen_workspaces(request)
        return HttpResponse(await prometheus.exposition(seen), content_type=prometheus.CONTENT_TYPE)
    except AtomError as exc:
        return error_response(exc)


async def _seen_workspaces(request: HttpRequest) -> prometheus.Seen:
    """Whose figures the caller may see. A token's holder sees their own, the installation's admin everybody's."""
    secret = presented_token(request)
    if secret is None and not is_from_this_machine(request):
        raise NotAuthenticated
    if secret is None:
        return await in_db(prometheus.all_workspaces)
    principal = await principal_of_token(secret)
    principal.require(Scope.METRICS)
    return await in_db(prometheus.workspaces_of, principal)


def is_from_this_machine(request: HttpRequest) -> bool:
    """Whether the other end is a loopback address, and not a proxy for somebody else.

    The host is checked too: a page elsewhere may have its name resolved to 127.0.0.1 in a browser on this machine.
    """
    scope = getattr(request, "scope", None)
    if scope is None or scope.get("is_forwarded", True) or not scope.get("client"):
        return False
    try:
        request.get_host()
        return ip_address(scope["client"][0]).is_loopback
    except (DisallowedHost, ValueError):
        return False


async def root(request: HttpRequest) -> HttpResponse:
    """A browser is sent to the admin, a program is told where it is."""
    if "text/html" in request.headers.get("Accept", ""):
        return HttpResponseRedirect("/admin/")
    return JsonResponse({"name": "atom", "version": settings.ATOM_VERSION, "docs": "/api/docs/"})
