from django.urls import path

from agents.api.anthropic import views

urlpatterns = [
    path("messages", views.messages),
    path("messages/count_tokens", views.count_tokens),
]
