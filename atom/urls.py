"""Every address: each app brings its own, the roof joins them."""

from django.contrib import admin
from django.urls import include, path

from agents.api.mcp_door import mcp_door
from agents.playground import playground
from agents.usage_page import usage_page
from atom import views
from atom.schema import docs, schema
from atom.trace_api import TraceOf
from atom.trace_page import trace_page
from feedback.figures.page import figures_page
from feedback.page import feedback_page
from governance.maturity.pages import agent_level, oversight_page
from governance.supervision.pages import live_page

handler404 = "atom.ground.api.errors.not_found"
handler500 = "atom.ground.api.errors.server_error"

urlpatterns = [
    path("", views.root),
    path("healthz", views.healthz),
    path("readyz", views.readyz),
    path("health", views.health),
    path("metrics", views.metrics),
    path("f/<str:token>/", feedback_page, name="feedback-page"),
    path("admin/playground/", admin.site.admin_view(playground), name="playground"),
    path("admin/usage/", admin.site.admin_view(usage_page), name="usage"),
    path("admin/feedback-figures/", admin.site.admin_view(figures_page), name="feedback-figures"),
    path("admin/oversight/", admin.site.admin_view(oversight_page), name="oversight"),
    *(
        path(
            f"admin/agents/agent/<uuid:agent_id>/{verb}/",
            admin.site.admin_view(agent_level),
            {"verb": verb},
            name=f"agent-{verb}",
        )
        for verb in ("promote", "demote", "kill")
    ),
    path("admin/live/", admin.site.admin_view(live_page), name="live"),
    path("admin/trace/", admin.site.admin_view(trace_page), name="trace-page"),
    path("admin/", admin.site.urls),
    path("api/schema/", schema, name="schema"),
    path("api/docs/", docs, name="docs"),
    path("api/trace/<uuid:reference>/", TraceOf.as_view(), name="trace"),
    path("api/", include("atom.ground.api.urls")),
    path("api/", include("llm.api.urls")),
    path("api/", include("agents.api.urls")),
    path("v1/", include("agents.api.openai.urls")),
    path("v1/", include("agents.api.anthropic.urls")),
    path("v1/", include("agents.api.responses.urls")),
    path("mcp/<slug:server>/", mcp_door),
    path("", include("agents.api.control.urls")),
    path("api/", include("feedback.api.urls")),
    path("api/", include("governance.api.urls")),
]
