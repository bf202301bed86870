from django.urls import path

from governance.api import views

urlpatterns = [
    path("actions/", views.Actions.as_view()),
    path("actions/<uuid:decision_id>/outcome/", views.ActionOutcome.as_view()),
    path("approvals/", views.Approvals.as_view()),
    path("approvals/<uuid:approval_id>/", views.OneApproval.as_view()),
    path("approvals/<uuid:approval_id>/approve/", views.Approve.as_view()),
    path("approvals/<uuid:approval_id>/reject/", views.Reject.as_view()),
    path("approvals/<uuid:approval_id>/cancel/", views.Cancel.as_view()),
]
