"""Health, and the root: what stands at the addresses that are nobody's room."""

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse

from atom.ground.draining import is_draining
from atom.ground.health import failing_parts


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


async def root(request: HttpRequest) -> HttpResponse:
    """A browser is sent to the admin, a program is told where it is."""
    if "text/html" in request.headers.get("Accept", ""):
        return HttpResponseRedirect("/admin/")
    return JsonResponse({"name": "atom", "version": settings.ATOM_VERSION, "docs": "/admin/"})
