"""What governance keeps: one module a subject, all under one name."""

from governance.models.approvals import (
    CLOSED_STATUSES,
    EXPIRES_AFTER,
    Approval,
    ApprovalStatus,
    ApprovalVote,
    Priority,
)
from governance.models.budgets import Budget, BudgetScope, Period
from governance.models.decisions import DECISION_CHOICES, Decision, Outcome
from governance.models.policies import Policy, PolicyInForce, PolicyReplay, PolicyVersion, ReplayStatus

__all__ = [
    "CLOSED_STATUSES",
    "DECISION_CHOICES",
    "EXPIRES_AFTER",
    "Approval",
    "ApprovalStatus",
    "ApprovalVote",
    "Budget",
    "BudgetScope",
    "Decision",
    "Outcome",
    "Period",
    "Policy",
    "PolicyInForce",
    "PolicyReplay",
    "PolicyVersion",
    "Priority",
    "ReplayStatus",
]
