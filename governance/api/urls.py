from django.urls import path

from governance.api import budgets, views

urlpatterns = [
    path("actions/", views.Actions.as_view()),
    path("actions/<uuid:decision_id>/outcome/", views.ActionOutcome.as_view()),
    path("approvals/", views.Approvals.as_view()),
    path("approvals/<uuid:approval_id>/", views.OneApproval.as_view()),
    path("approvals/<uuid:approval_id>/approve/", views.Approve.as_view()),
    path("approvals/<uuid:approval_id>/reject/", views.Reject.as_view()),
    path("approvals/<uuid:approval_id>/cancel/", views.Cancel.as_view()),
    path("budgets/", budgets.Budgets.as_view()),
    path("budgets/<uuid:budget_id>/", budgets.OneBudget.as_view()),
]
