"""The inbox of approvals and the record of decisions, in the admin."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.db.models.expressions import OrderBy
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from django.utils.text import Truncator
from django.utils.timesince import timesince, timeuntil
from unfold.decorators import action, display
from unfold.forms import BaseDialogForm
from unfold.widgets import UnfoldAdminTextareaWidget

from atom.ground.admin import WorkspaceAdmin, principal_of
from atom.ground.errors import AtomError, NotFound
from atom.ground.models import Scope
from governance import queries, services
from governance.budgets import admin as budgets  # noqa: F401  # its page registers itself
from governance.maturity import admin as maturity  # noqa: F401  # its pages register themselves
from governance.maturity.queries import proposals_of
from governance.models import Approval, ApprovalStatus, Decision, ProposalStatus
from governance.policies.admin import PolicyAdmin

__all__ = ["ApprovalAdmin", "DecisionAdmin", "PolicyAdmin"]

STATUS_COLOURS = {
    ApprovalStatus.PENDING.value: "warning",
    ApprovalStatus.APPROVED.value: "info",
    ApprovalStatus.EXECUTED.value: "success",
    ApprovalStatus.REJECTED.value: "danger",
    ApprovalStatus.FAILED.value: "danger",
}
# What could not be judged is denied, but nobody refused it.
NOT_JUDGED = "not judged"
DECISION_COLOURS = {"allow": "success", "watch": "info", "ask": "warning", "deny": "danger", NOT_JUDGED: ""}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2)


def readable(values: dict[str, Any]) -> SafeString:
    """A line for each argument: its name, its value."""
    line = '<div class="break-words whitespace-pre-wrap"><span class="font-semibold">{}:</span> {}</div>'
    return format_html_join("", line, ((name, _text(value)) for name, value in values.items()))


def brief(values: dict[str, Any]) -> str:
    """The arguments in one short line, for lists."""
    return Truncator(", ".join(f"{name}: {_text(value)}" for name, value in values.items())).chars(90)


def _found(request: HttpRequest, object_id: object) -> Approval:
    try:
        return queries.get_approval(principal_of(request), UUID(str(object_id)))
    except (ValueError, NotFound) as exc:
        raise Http404 from exc


class DecisionForm(BaseDialogForm):  # type: ignore[misc]  # unfold is not typed
    """What somebody says to the revision that they were shown."""

    note = forms.CharField(
        label="Reason", required=False, max_length=10_000, widget=UnfoldAdminTextareaWidget(attrs={"rows": 3})
    )
    revision = forms.IntegerField(widget=forms.HiddenInput)
    form_before_template = "governance/asked.html"

    def __init__(self, request: HttpRequest, object_id: object = None, *args: Any, **kwargs: Any) -> None:
        approval = _found(request, object_id)
        kwargs["initial"] = {"revision": approval.revision, "_form_submitted": True}
        super().__init__(request, object_id, *args, **kwargs)

    def get_before_template_context(self, request: HttpRequest, object_id: object = None) -> dict[str, Any]:
        approval = _found(request, object_id)
        return {"approval": approval, "arguments": readable(approval.arguments)}


@admin.register(Approval)
class ApprovalAdmin(WorkspaceAdmin):
    view_scope = Scope.CHAT
    list_display = ["state", "agent", "action", "arguments_in_brief", "asked", "expires", "decided_by", "note"]
    list_display_links = ["action"]
    list_filter = ["status", "agent", "created_at"]
    list_select_related = ["agent", "decided_by"]
    search_fields = ["action", "tool", "agent__slug"]
    actions_row = ["approve", "reject"]
    # Levels that the evidence speaks for wait for the same people.
    list_before_template = "governance/proposals.html"
    change_form_outer_after_template = "governance/decide.html"
    asked_fields = [
        "state",
        "agent",
        "action",
        "tool",
        "arguments_readable",
        "why",
        "requested_by",
        "run",
        "created_at",
        "expires_at",
        "people",
    ]
    decided_fields = ["decided_by", "decided_at", "note", "executed_at", "result_readable", "error", "digest"]
    readonly_fields = [*asked_fields, *decided_fields]

    def has_decide_permission(self, request: HttpRequest, object_id: object = None) -> bool:
        return Scope.APPROVE in self.principal(request).scopes

    def get_fields(self, request: HttpRequest, obj: Approval | None = None) -> list[str]:
        """While it waits, only what helps to decide, so that the buttons are near."""
        waits = obj is not None and obj.current_status == ApprovalStatus.PENDING
        return self.asked_fields if waits else [*self.asked_fields, *self.decided_fields]

    def get_ordering(self, request: HttpRequest) -> list[str | OrderBy]:
        return [queries.waiting_first(), "-created_at"]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        waiting = proposals_of(self.principal(request)).filter(status=ProposalStatus.OPEN)
        answer: HttpResponse = super().changelist_view(request, {"proposals": waiting, **(extra_context or {})})
        return answer

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        approval = _found(request, object_id)
        may = self.has_decide_permission(request) and approval.current_status == ApprovalStatus.PENDING
        context = {"decision_form": DecisionForm(request, approval.pk) if may else None, **(extra_context or {})}
        return super().changeform_view(request, object_id, form_url, context)

    @action(  # type: ignore[untyped-decorator]  # unfold is not typed
        description="Approve",
        permissions=["decide"],
        icon="check",
        dialog={
            "title": "Approve this action",
            "description": "It runs with exactly the arguments that you were shown.",
            "form_class": DecisionForm,
            "form_submit_text": "Approve",
        },
    )
    def approve(self, request: HttpRequest, form: DecisionForm, object_id: str) -> HttpResponse:
        return self._decide(request, form, object_id, services.approve, "Approved")

    @action(  # type: ignore[untyped-decorator]  # unfold is not typed
        description="Reject",
        permissions=["decide"],
        icon="close",
        dialog={
            "title": "Reject this action",
            "description": "The agent reads your reason.",
            "form_class": DecisionForm,
            "form_submit_text": "Reject",
        },
    )
    def reject(self, request: HttpRequest, form: DecisionForm, object_id: str) -> HttpResponse:
        return self._decide(request, form, object_id, services.reject, "Rejected")

    def _decide(
        self, request: HttpRequest, form: DecisionForm, object_id: str, decide: Callable[..., Approval], done: str
    ) -> HttpResponse:
        approval = _found(request, object_id)
        said = {"revision": form.cleaned_data["revision"], "note": form.cleaned_data["note"]}
        try:
            decided = decide(approval=approval, principal=self.principal(request), **said)
        except AtomError as exc:
            messages.error(request, exc.message)
        else:
            if decided.status == ApprovalStatus.PENDING:
                done = f"Your yes is counted ({self.people(decided)})"
            messages.success(request, f"{done}: {approval.action} by {approval.agent}.")
        inbox = reverse("admin:governance_approval_changelist")
        # The dialog posts in the background; htmx goes to another page only when told so in this header.
        return HttpResponse(headers={"HX-Redirect": inbox}) if "HX-Request" in request.headers else redirect(inbox)

    @display(description="Status", label=STATUS_COLOURS)  # type: ignore[untyped-decorator]  # unfold is not typed
    def state(self, approval: Approval) -> str:
        return str(approval.current_status)

    @admin.display(description="Arguments")
    def arguments_in_brief(self, approval: Approval) -> str:
        return brief(approval.arguments)

    @admin.display(description="Arguments")
    def arguments_readable(self, approval: Approval) -> str:
        return readable(approval.arguments)

    @admin.display(description="Result")
    def result_readable(self, approval: Approval) -> str:
        return "" if approval.result is None else _text(approval.result)

    @admin.display(description="Why it is asked")
    def why(self, approval: Approval) -> str:
        return approval.decision.reason

    @admin.display(description="Approved by")
    def people(self, approval: Approval) -> str:
        """Who has approved this revision so far, of how many; and whether whoever caused it may not."""
        names = [
            vote.user.username for vote in approval.votes.select_related("user") if vote.revision == approval.revision
        ]
        said = f"{', '.join(names) or 'nobody yet'} ({len(names)} of {approval.quorum})"
        return f"{said}; not by whoever caused it" if approval.four_eyes else said

    @admin.display(description="Asked", ordering="created_at")
    def asked(self, approval: Approval) -> str:
        just_now = timezone.now() - approval.created_at < timedelta(minutes=1)
        return "just now" if just_now else f"{timesince(approval.created_at, depth=1)} ago"

    @admin.display(description="Expires", ordering="expires_at")
    def expires(self, approval: Approval) -> str:
        if approval.status != ApprovalStatus.PENDING or approval.expires_at <= timezone.now():
            return ""
        return f"in {timeuntil(approval.expires_at, depth=1)}"


@admin.register(Decision)
class DecisionAdmin(WorkspaceAdmin):
    view_scope = Scope.CHAT
    list_display = ["created_at", "verdict", "agent", "maturity", "action", "complexity", "reason", "outcome"]
    list_display_links = ["action"]
    list_filter = ["decision", "is_error", "complexity", "maturity", "is_unknown_action", "agent", "created_at"]
    list_select_related = ["agent"]
    search_fields = ["action", "tool", "agent__slug"]
    fields = [
        "verdict",
        "reason",
        "agent",
        "maturity",
        "action",
        "tool",
        "complexity",
        "is_unknown_action",
        "arguments_readable",
        "context_readable",
        "rule",
        "policy_version",
        "is_error",
        "shadow_decision",
        "shadow_rule",
        "shadow_policy_version",
        "latency_us",
        "run",
        "user",
        "outcome",
        "outcome_at",
        "created_at",
    ]
    readonly_fields = fields

    @display(description="Decision", ordering="decision", label=DECISION_COLOURS)  # type: ignore[untyped-decorator]  # unfold is not typed
    def verdict(self, decision: Decision) -> str:
        return NOT_JUDGED if decision.is_error else decision.decision

    @admin.display(description="Arguments")
    def arguments_readable(self, decision: Decision) -> str:
        return readable(decision.arguments)

    @admin.display(description="Context")
    def context_readable(self, decision: Decision) -> str:
        return readable(decision.context)
