"""How much may be spent, by whom, in which period."""

import uuid

from django.db import models
from django.utils import timezone

from agents.models import Agent, Session
from atom.ground.models import AccessToken, Workspace


class BudgetScope(models.TextChoices):
    """Whose calls a budget counts: all of a workspace, or those of one agent, token or session."""

    WORKSPACE = "workspace"
    AGENT = "agent"
    TOKEN = "token"  # noqa: S105  # a word, no secret
    SESSION = "session"


class Period(models.TextChoices):
    """After which a budget begins anew, at midnight UTC; `total` never does."""

    DAY = "day"
    MONTH = "month"
    TOTAL = "total"


class Budget(models.Model):
    """A hard one refuses the call that finds it used up; a soft one only says so in the audit trail and the log."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="budgets")
    scope = models.CharField(max_length=9, choices=BudgetScope)
    agent = models.ForeignKey(Agent, null=True, blank=True, on_delete=models.CASCADE, related_name="budgets")
    token = models.ForeignKey(AccessToken, null=True, blank=True, on_delete=models.CASCADE, related_name="budgets")
    session = models.ForeignKey(Session, null=True, blank=True, on_delete=models.CASCADE, related_name="budgets")
    period = models.CharField(max_length=5, choices=Period)
    limit_usd = models.DecimalField("limit in USD", max_digits=16, decimal_places=9)
    is_hard = models.BooleanField("hard", default=True, help_text="Refuse calls once it is used up.")
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.CheckConstraint(name="budget_limit_is_not_negative", condition=models.Q(limit_usd__gte=0)),
        ]

    def __str__(self) -> str:
        return f"{self.limit_usd.normalize():f} USD a {self.period} for {self.spender}"

    @property
    def target_id(self) -> uuid.UUID | None:
        """The agent, token or session that it counts; None for the whole workspace."""
        return self.agent_id or self.token_id or self.session_id

    @property
    def spender(self) -> str:
        """Whose spending it bounds, for people."""
        if self.agent is not None:
            return f"the agent {self.agent.slug}"
        if self.token is not None:
            return f"the token {self.token.name}"
        return f"the session {self.session_id}" if self.session_id else "the workspace"
