from django.urls import path

from agents.api import chat, mcp_servers, tokens, usage, views
from agents.models import AgentStatus

urlpatterns = [
    path("tokens/", tokens.Tokens.as_view()),
    path("agents/", views.Agents.as_view()),
    path("agents/<str:agent>/", views.OneAgent.as_view()),
    path("agents/<str:agent>/chat/", chat.chat),
    path("agents/<str:agent>/pause/", views.AgentStatusChange.as_view(status=AgentStatus.PAUSED)),
    path("agents/<str:agent>/resume/", views.AgentStatusChange.as_view(status=AgentStatus.ACTIVE)),
    path("agents/<str:agent>/retire/", views.AgentStatusChange.as_view(status=AgentStatus.RETIRED)),
    path("sessions/", views.Sessions.as_view()),
    path("sessions/<uuid:session_id>/", views.OneSession.as_view()),
    path("sessions/<uuid:session_id>/messages/", views.SessionMessages.as_view()),
    path("runs/", views.Runs.as_view()),
    path("runs/<uuid:run_id>/", views.OneRun.as_view()),
    path("runs/<uuid:run_id>/events/", chat.run_events),
    path("runs/<uuid:run_id>/cancel/", views.CancelRun.as_view()),
    path("mcp-servers/", mcp_servers.Servers.as_view()),
    path("mcp-servers/<uuid:server_id>/", mcp_servers.OneServer.as_view()),
    path("mcp-servers/<uuid:server_id>/refresh/", mcp_servers.Refresh.as_view()),
    path("mcp-servers/<uuid:server_id>/tools/", mcp_servers.Tools.as_view()),
    path("mcp-servers/<uuid:server_id>/tools/<path:name>/approve/", mcp_servers.Approve.as_view()),
    path("mcp-servers/<uuid:server_id>/tools/<path:name>/withdraw/", mcp_servers.Withdraw.as_view()),
    path("usage/", usage.Usage.as_view()),
]
