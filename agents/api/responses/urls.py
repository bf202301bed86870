from django.urls import path

from agents.api.responses import views

urlpatterns = [
    path("responses", views.all_of_them),
    path("responses/<str:response_id>", views.one),
    path("responses/<str:response_id>/cancel", views.cancel),
    path("responses/<str:response_id>/input_items", views.input_items),
]
