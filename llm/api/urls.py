from django.urls import path

from llm.api import models, views

urlpatterns = [
    path("provider-keys/", views.ProviderKeys.as_view()),
    path("breakers/", views.Breakers.as_view()),
    path("breakers/reset/", views.BreakerReset.as_view()),
    path("provider-keys/<uuid:key_id>/", views.ProviderKeyDetail.as_view()),
    path("provider-keys/<uuid:key_id>/test/", views.ProviderKeyTest.as_view()),
    path("models/", models.Models.as_view()),
    path("models/<uuid:price_id>/", models.PriceDetail.as_view()),
    path("models/route/", models.Route.as_view()),
    path("models/aliases/", models.Aliases.as_view()),
    path("models/aliases/<uuid:alias_id>/", models.AliasDetail.as_view()),
]
