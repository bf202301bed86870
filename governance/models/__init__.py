"""What governance keeps: one module a subject, all under one name."""

from governance.models.approvals import (
    CLOSED_STATUSES,
    EXPIRES_AFTER,
    Approval,
    ApprovalRevision,
    ApprovalStatus,
    ApprovalVote,
    Priority,
)
from governance.models.budgets import Budget, BudgetScope, Period
from governance.models.decisions import DECISION_CHOICES, Decision, Outcome
from governance.models.grants import ApprovalDelegation, Grant
from governance.models.maturity import (
    ConfidenceChange,
    ConfidenceEvent,
    LevelChange,
    Proposal,
    ProposalStatus,
    RunEvidence,
    Source,
)
from governance.models.oversight import (
    Oversight,
    Review,
    ReviewStatus,
    TrainingStatus,
    TrainingTask,
    TriggeredRun,
    TriggerKind,
    TriggerStatus,
)
from governance.models.policies import Policy, PolicyInForce, PolicyReplay, PolicyVersion, ReplayStatus
from governance.models.supervision import Intervention, InterventionKind

__all__ = [
    "CLOSED_STATUSES",
    "DECISION_CHOICES",
    "EXPIRES_AFTER",
    "Approval",
    "ApprovalDelegation",
    "ApprovalRevision",
    "ApprovalStatus",
    "ApprovalVote",
    "Budget",
    "BudgetScope",
    "ConfidenceChange",
    "ConfidenceEvent",
    "Decision",
    "Grant",
    "Intervention",
    "InterventionKind",
    "LevelChange",
    "Outcome",
    "Oversight",
    "Period",
    "Policy",
    "PolicyInForce",
    "PolicyReplay",
    "PolicyVersion",
    "Priority",
    "Proposal",
    "ProposalStatus",
    "ReplayStatus",
    "Review",
    "ReviewStatus",
    "RunEvidence",
    "Source",
    "TrainingStatus",
    "TrainingTask",
    "TriggerKind",
    "TriggerStatus",
    "TriggeredRun",
]
