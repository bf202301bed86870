from django.urls import path

from agents.api.openai import embeddings, views

urlpatterns = [
    path("chat/completions", views.chat_completions),
    path("embeddings", embeddings.embeddings),
    path("models", views.models),
    path("metrics/providers", views.metrics_of_providers),
    path("models/<path:model_id>", views.model),
]
