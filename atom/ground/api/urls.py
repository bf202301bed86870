from django.urls import path

from atom.ground.api import views

urlpatterns = [
    path("tokens/<uuid:token_id>/", views.Token.as_view()),
    path("members/", views.Members.as_view()),
    path("workspaces/", views.Workspaces.as_view()),
    path("audit/", views.Audit.as_view()),
    path("audit/export/", views.export_audit),
    path("audit/verify/", views.AuditVerify.as_view()),
]
