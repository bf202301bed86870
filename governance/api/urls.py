from django.urls import path

from governance.api import budgets, grants, policies, views, waiting

urlpatterns = [
    path("actions/", views.Actions.as_view()),
    path("actions/<uuid:decision_id>/outcome/", views.ActionOutcome.as_view()),
    path("approvals/", views.Approvals.as_view()),
    path("approvals/bulk/", views.Bulk.as_view()),
    path("approvals/reviewers/", views.Reviewers.as_view()),
    path("approvals/<uuid:approval_id>/", waiting.one_approval),
    path("approvals/<uuid:approval_id>/approve/", views.Approve.as_view()),
    path("approvals/<uuid:approval_id>/reject/", views.Reject.as_view()),
    path("approvals/<uuid:approval_id>/cancel/", views.Cancel.as_view()),
    path("approvals/<uuid:approval_id>/edit/", views.Edit.as_view()),
    path("grants/", grants.Grants.as_view()),
    path("grants/<uuid:grant_id>/", grants.OneGrant.as_view()),
    path("grants/<uuid:grant_id>/revoke/", grants.Revoke.as_view()),
    path("delegations/", grants.Delegations.as_view()),
    path("delegations/<uuid:delegation_id>/", grants.OneDelegation.as_view()),
    path("budgets/", budgets.Budgets.as_view()),
    path("budgets/<uuid:budget_id>/", budgets.OneBudget.as_view()),
    path("policies/", policies.Policies.as_view()),
    path("policies/<uuid:policy_id>/", policies.OnePolicy.as_view()),
    path("policies/<uuid:policy_id>/versions/", policies.Versions.as_view()),
    path("policies/<uuid:policy_id>/activate/", policies.Activate.as_view()),
    path("policies/<uuid:policy_id>/deactivate/", policies.Deactivate.as_view()),
    path("policies/<uuid:policy_id>/rollback/", policies.RollBack.as_view()),
    path("policies/<uuid:policy_id>/shadow/", policies.Shadow.as_view()),
    path("policies/<uuid:policy_id>/replay/", policies.Replay.as_view()),
]
