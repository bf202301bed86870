"""The admin's page of one trace: from any id of an answer to its run, cost, approvals, feedback and audit entries."""

from typing import Any
from uuid import UUID

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.views.decorators.http import require_GET

from atom.ground.errors import NotFound
from atom.ground.principal import Principal
from atom.ground.workspace_admin import principal_of
from atom.trace import Trace, trace


@require_GET
def trace_page(request: HttpRequest) -> HttpResponse:
    """`?id=` is the id of a run, message, decision, approval, feedback or audit entry."""
    principal = principal_of(request)
    wanted = request.GET.get("id", "").strip()
    found, problem = _found(principal, wanted) if wanted else (None, "")
    context: dict[str, Any] = {
        **admin.site.each_context(request),
        "title": "Trace",
        "wanted": wanted,
        "problem": problem,
        "trace": found,
    }
    return TemplateResponse(request, "atom/trace.html", context, status=404 if problem else 200)


def _found(principal: Principal, wanted: str) -> tuple[Trace | None, str]:
    try:
        return trace(principal, UUID(wanted)), ""
    except ValueError:
        return None, "This is not an id."
    except NotFound as exc:
        return None, exc.message
