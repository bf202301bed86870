"""The admin's page "Live": the runs that go on now, and buttons to step into them. Its frames come over
`/ws/supervise/`."""

from typing import Any
from uuid import UUID

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.views.decorators.http import require_GET

from atom.ground.models import Scope
from atom.ground.workspace_admin import principal_of

# Where the page puts an id that only the browser will know.
PLACEHOLDER_ID = UUID(int=0)


@require_GET
def live_page(request: HttpRequest) -> HttpResponse:
    principal = principal_of(request)
    if Scope.SUPERVISE not in principal.scopes:
        raise PermissionDenied
    context: dict[str, Any] = {
        **admin.site.each_context(request),
        "title": "Live",
        "placeholder_id": PLACEHOLDER_ID,
        "may_chat": Scope.CHAT in principal.scopes,
    }
    return TemplateResponse(request, "governance/live.html", context)
