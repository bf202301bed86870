"""Every address: each app brings its own, the roof joins them."""

from django.contrib import admin
from django.urls import include, path

handler404 = "atom.ground.api.errors.not_found"
handler500 = "atom.ground.api.errors.server_error"

urlpatterns = [
    path("admin/", admin.site.urls),
    path("api/", include("atom.ground.api.urls")),
]
