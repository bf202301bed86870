from django.urls import path

from agents.api.control import views

urlpatterns = [
    path("message", views.message),
    path("messages", views.messages),
    path("status", views.status),
    path("events", views.events),
    path("agent/start", views.start),
    path("agent/<str:session_id>/status", views.session_status),
    path("agent/<str:session_id>/stop", views.stop),
    path("agent/<str:session_id>/logs", views.logs),
]
