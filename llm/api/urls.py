from django.urls import path

from llm.api import views

urlpatterns = [
    path("provider-keys/", views.ProviderKeys.as_view()),
    path("breakers/", views.Breakers.as_view()),
    path("breakers/reset/", views.BreakerReset.as_view()),
    path("provider-keys/<uuid:key_id>/", views.ProviderKeyDetail.as_view()),
]
