"""The admin's front page and its sidebar."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.contrib import admin
from django.db.models import Count, F, Q, Sum
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from agents import queries as agent_queries
from agents.admin import RUN_LABELS
from agents.models import OPEN_STATUSES, Run, RunStatus
from atom.ground.models import Scope
from atom.ground.principal import Principal
from atom.ground.workspace_admin import principal_or_none
from feedback import queries as feedback_queries
from governance import queries as governance_queries
from governance.maturity.queries import proposals_of
from governance.models import Approval, ApprovalStatus, ProposalStatus
from governance.oversight import oversight_of

LATEST = 8
WENT_WRONG = (RunStatus.FAILED, RunStatus.INTERRUPTED, RunStatus.TERMINATED)

# Section, then its pages: model, title, symbol.
PAGES: tuple[tuple[str, tuple[tuple[str, str, str], ...]], ...] = (
    (
        "Work",
        (
            ("agents.agent", "Agents", "smart_toy"),
            ("agents.session", "Sessions", "chat"),
            ("agents.run", "Runs", "bolt"),
        ),
    ),
    (
        "Governance",
        (
            ("governance.decision", "Decisions", "gavel"),
            ("governance.proposal", "Proposed levels", "military_tech"),
            ("governance.review", "Spot checks", "fact_check"),
            ("governance.trainingtask", "Training", "school"),
            ("governance.triggeredrun", "Triggered runs", "schedule"),
            ("governance.confidencechange", "Confidence", "trending_up"),
            ("governance.budget", "Budgets", "savings"),
            ("governance.policy", "Policies", "policy"),
            ("feedback.feedback", "Feedback", "thumbs_up_down"),
            ("feedback.feedbacktojudge", "To judge", "rule"),
            ("feedback.experiment", "Experiments", "experiment"),
            ("feedback.webhookdelivery", "Webhook deliveries", "outbox"),
            ("ground.auditentry", "Audit trail", "history"),
        ),
    ),
    (
        "Settings",
        (
            ("llm.providerkey", "Provider keys", "key"),
            ("llm.modelprice", "Model prices", "payments"),
            ("llm.modelalias", "Model names", "label"),
            ("feedback.reviewer", "Reviewers", "how_to_reg"),
            ("feedback.webhook", "Webhooks", "webhook"),
            ("feedback.digest", "E-mail digest", "mail"),
            ("ground.accesstoken", "Access tokens", "token"),
            ("ground.membership", "Members", "group"),
            ("ground.workspace", "Workspace", "apartment"),
        ),
    ),
)


@dataclass(frozen=True, slots=True)
class Day:
    """The workspace's runs since midnight, UTC."""

    runs: int
    open: int
    tokens: int
    cost_usd: Decimal
    ended: int
    went_wrong: int

    @property
    def error_rate(self) -> str:
        return f"{self.went_wrong / self.ended:.0%}" if self.ended else "-"


def pending_of(principal: Principal) -> Any:
    """Approvals that wait for people, the most urgent first."""
    waiting = governance_queries.with_status(governance_queries.approvals_of(principal), ApprovalStatus.PENDING)
    return waiting.order_by("expires_at")


def day_of(principal: Principal, since: datetime) -> Day:
    found = (
        agent_queries.runs_of(principal)
        .filter(created_at__gte=since)
        .aggregate(
            runs=Count("pk"),
            open=Count("pk", filter=Q(status__in=OPEN_STATUSES)),
            tokens=Sum(F("input_tokens") + F("output_tokens")),
            cost=Sum("cost_usd"),
            # A run that its own person stopped is neither a success nor an error.
            ended=Count("pk", filter=Q(status__in=(RunStatus.SUCCEEDED, *WENT_WRONG))),
            went_wrong=Count("pk", filter=Q(status__in=WENT_WRONG)),
        )
    )
    return Day(
        runs=found["runs"],
        open=found["open"],
        tokens=found["tokens"] or 0,
        cost_usd=found["cost"] or Decimal(0),
        ended=found["ended"],
        went_wrong=found["went_wrong"],
    )


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Unfold's DASHBOARD_CALLBACK: the figures of the day, what waits, what just happened."""
    principal = principal_or_none(request)
    if principal is None:
        return context
    midnight = timezone.now().replace(hour=0, minute=0, second=0, microsecond=0)
    pending = pending_of(principal)
    latest: list[Run] = list(agent_queries.runs_of(principal).order_by("-created_at")[:LATEST])
    return {
        **context,
        "title": "Today",
        "rules": oversight_of(principal.workspace_id),
        "pending_count": pending.count(),
        "pending": list(pending[:LATEST]),
        "may_decide": Scope.APPROVE in principal.scopes,
        "day": day_of(principal, midnight),
        "feedback": feedback_queries.analytics(principal),
        "latest": [(run, RUN_LABELS[RunStatus(run.status)]) for run in latest],
    }


def _link(title: str, icon: str, url: str, *, exact: bool = False, request: HttpRequest) -> dict[str, Any]:
    is_here = request.path == url if exact else request.path.startswith(url)
    return {"title": title, "icon": icon, "link": url, "active": is_here}


def navigation(request: HttpRequest) -> list[dict[str, Any]]:
    """Unfold's sidebar: the pages that this person may see, as each page itself says."""
    principal = principal_or_none(request)
    if principal is None:
        return []
    top = [_link("Today", "dashboard", reverse("admin:index"), exact=True, request=request)]
    if Scope.CHAT in principal.scopes:
        top.append(_link("Playground", "forum", reverse("playground"), request=request))
        top.append(_link("Usage", "payments", reverse("usage"), request=request))
    if Scope.FEEDBACK in principal.scopes:
        top.append(_link("What people say", "monitoring", reverse("feedback-figures"), request=request))
    if Scope.SUPERVISE in principal.scopes:
        top.append(_link("Live", "sensors", reverse("live"), request=request))
    if admin.site.get_model_admin(Approval).has_view_permission(request):
        open_proposals = proposals_of(principal).filter(status=ProposalStatus.OPEN).count()
        inbox = _link("Inbox", "inbox", reverse("admin:governance_approval_changelist"), request=request)
        if waiting := pending_of(principal).count() + open_proposals:
            inbox |= {"badge": str(waiting), "badge_variant": "warning"}
        top.append(inbox)
    if Scope.SUPERVISE in principal.scopes:
        switch = _link("Oversight", "dangerous", reverse("oversight"), request=request)
        if oversight_of(principal.workspace_id).is_stopped:
            switch |= {"badge": "stopped", "badge_variant": "danger"}
        top.append(switch)
    pages = {model._meta.label_lower: page for model, page in admin.site._registry.items()}
    sections: list[dict[str, Any]] = [{"items": top}]
    for title, items in PAGES:
        links = [
            _link(name, icon, reverse(f"admin:{label.replace('.', '_')}_changelist"), request=request)
            for label, name, icon in items
            if label in pages and pages[label].has_view_permission(request)
        ]
        sections.append({"title": title, "items": links})
    return sections
