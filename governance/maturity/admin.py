"""Proposals, spot checks, training tasks and what moved confidence, in the admin."""

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from unfold.decorators import action
from unfold.enums import ActionVariant
from unfold.forms import BaseDialogForm
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget

from atom.ground.display import data_html, moment_html
from atom.ground.errors import AtomError
from atom.ground.models import Scope
from atom.ground.principal import Principal
from atom.ground.workspace_admin import WorkspaceAdmin, button, column
from governance.maturity import proposals, reviews, training
from governance.models import (
    ConfidenceChange,
    Proposal,
    ProposalStatus,
    Review,
    ReviewStatus,
    TrainingStatus,
    TrainingTask,
    TriggeredRun,
    TriggerStatus,
)

PROPOSAL_LABELS = {
    ProposalStatus.OPEN: "warning",
    ProposalStatus.CONFIRMED: "success",
    ProposalStatus.DECLINED: "danger",
    ProposalStatus.OVERTAKEN: "",
}
REVIEW_LABELS = {ReviewStatus.PENDING: "warning", ReviewStatus.RIGHT: "success", ReviewStatus.WRONG: "danger"}
TRAINING_LABELS = {TrainingStatus.OPEN: "warning", TrainingStatus.COMPLETED: "success"}
TRIGGER_LABELS = {
    TriggerStatus.STARTED: "success",
    TriggerStatus.QUEUED: "info",
    TriggerStatus.REFUSED: "danger",
    TriggerStatus.FAILED: "danger",
}


class DecidedAdmin(WorkspaceAdmin):
    """Rows that wait for one decision of a person: a button asks, the service decides, the list comes back."""

    view_scope = "chat"
    list_select_related = ["agent"]
    waiting = ""

    def _waits(self, request: HttpRequest, object_id: Any, scope: str) -> bool:
        row = self.get_object(request, str(object_id)) if object_id else None
        return row is not None and row.status == self.waiting and scope in self.principal(request).scopes

    def _decide(
        self, request: HttpRequest, object_id: str, title: str, verb: str, act: Callable[[Any, Principal, str], object]
    ) -> HttpResponse:
        row = self.get_object(request, object_id)
        if row is None:
            raise Http404
        if request.method != "POST":
            return self.confirm(request, f"{title}: {row}", "It counts as evidence, and is audited.", verb)
        try:
            act(row, self.principal(request), request.POST.get("reason", "").strip()[:2000])
        except AtomError as exc:
            messages.error(request, exc.message)
        else:
            messages.success(request, f"{title}: {row}.")
        return HttpResponseRedirect(self.list_url())

    def list_url(self) -> str:
        return reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist")

    @column("Since", ordering="created_at")
    def created(self, row: Any) -> SafeString:
        return moment_html(row.created_at)


@admin.register(Proposal)
class ProposalAdmin(DecidedAdmin):
    waiting = ProposalStatus.OPEN
    list_display = ["shown_status", "agent", "before", "to", "created", "decided_by", "reason"]
    list_display_links = ["agent"]
    list_filter = ["status", "agent"]
    actions_detail = ["confirm_level", "decline_level"]
    fields = ["shown_status", "agent", "before", "to", "why", "created", "decided_by", "decided_at", "reason"]
    readonly_fields = fields

    def has_decide_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        return self._waits(request, object_id, Scope.APPROVE)

    @button("Confirm", permissions=["decide"], icon="check", variant=ActionVariant.PRIMARY, url_path="confirm")
    def confirm_level(self, request: HttpRequest, object_id: str) -> HttpResponse:
        def act(row: Proposal, principal: Principal, reason: str) -> object:
            return proposals.confirm(proposal=row, principal=principal, reason=reason)

        return self._decide(request, object_id, "Confirm", "Confirm", act)

    @button("Decline", permissions=["decide"], icon="close", url_path="decline")
    def decline_level(self, request: HttpRequest, object_id: str) -> HttpResponse:
        def act(row: Proposal, principal: Principal, reason: str) -> object:
            return proposals.decline(proposal=row, principal=principal, reason=reason)

        return self._decide(request, object_id, "Decline", "Decline", act)

    @column("Status", ordering="status", label=PROPOSAL_LABELS)
    def shown_status(self, row: Proposal) -> str:
        return row.status

    @column("The evidence")
    def why(self, row: Proposal) -> SafeString:
        reasons = row.evidence.get("reasons") or [one["sentence"] for one in row.evidence.get("criteria", ())]
        if said := row.evidence.get("feedback"):
            reasons = [*reasons, f"{said['positive']} of {said['total']} accepted feedbacks of 30 days are positive."]
        return format_html_join("", "<div>{}</div>", ((reason,) for reason in reasons))


@admin.register(Review)
class ReviewAdmin(DecidedAdmin):
    """Spot checks: allowed actions that were drawn for a person to look at."""

    view_scope = "approve"
    waiting = ReviewStatus.PENDING
    list_display = ["shown_status", "agent", "action", "created", "reviewed_by", "note"]
    list_display_links = ["action"]
    list_filter = ["status", "agent"]
    list_select_related = ["agent", "decision", "reviewed_by"]
    actions_detail = ["was_right", "was_wrong"]
    fields = ["shown_status", "agent", "action", "arguments", "why", "created", "reviewed_by", "reviewed_at", "note"]
    readonly_fields = fields

    def has_decide_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        return self._waits(request, object_id, Scope.APPROVE)

    @button("It was right", permissions=["decide"], icon="check", variant=ActionVariant.PRIMARY, url_path="right")
    def was_right(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._judge(request, object_id, "Right", True)

    @button("It was wrong", permissions=["decide"], icon="close", url_path="wrong")
    def was_wrong(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._judge(request, object_id, "Wrong", False)

    def _judge(self, request: HttpRequest, object_id: str, title: str, is_right: bool) -> HttpResponse:
        def act(row: Review, principal: Principal, reason: str) -> object:
            return reviews.judge_review(review=row, principal=principal, is_right=is_right, note=reason)

        return self._decide(request, object_id, title, title, act)

    @column("Status", ordering="status", label=REVIEW_LABELS)
    def shown_status(self, row: Review) -> str:
        return row.status

    @column("Action")
    def action(self, row: Review) -> str:
        return row.decision.action

    @column("Arguments")
    def arguments(self, row: Review) -> SafeString:
        return data_html(row.decision.arguments)

    @column("Why it was allowed")
    def why(self, row: Review) -> str:
        return row.decision.reason


class TrainingForm(BaseDialogForm):  # type: ignore[misc]  # unfold is not typed
    """How well the agent did it, under a person's eyes."""

    rating = forms.TypedChoiceField(
        label="How well did it go?",
        coerce=int,
        choices=[(5, "5: very well"), (4, "4: well"), (3, "3: fairly"), (2, "2: badly"), (1, "1: very badly")],
        widget=UnfoldAdminSelectWidget,
    )
    note = forms.CharField(
        label="Note", required=False, max_length=10_000, widget=UnfoldAdminTextareaWidget(attrs={"rows": 3})
    )


@admin.register(TrainingTask)
class TrainingAdmin(DecidedAdmin):
    """What students wanted to do and may not yet."""

    waiting = TrainingStatus.OPEN
    list_display = ["shown_status", "agent", "action", "times", "created", "performance", "completed_by"]
    list_display_links = ["action"]
    list_filter = ["status", "agent"]
    search_fields = ["action"]
    actions_detail = ["complete"]
    fields = [
        "shown_status", "agent", "action", "shown_arguments", "reason", "times", "created", "performance",
        "completed_by", "completed_at", "note",
    ]  # fmt: skip
    readonly_fields = fields

    def has_complete_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        return self._waits(request, object_id, Scope.SUPERVISE)

    @action(  # type: ignore[untyped-decorator]  # unfold is not typed
        description="Complete",
        permissions=["complete"],
        icon="school",
        dialog={
            "title": "Complete this training task",
            "description": "The better it went, the more the agent is trusted.",
            "form_class": TrainingForm,
            "form_submit_text": "Complete",
        },
    )
    def complete(self, request: HttpRequest, form: TrainingForm, object_id: str) -> HttpResponse:
        task = self.get_object(request, object_id)
        if task is None:
            raise Http404
        performance = (form.cleaned_data["rating"] - 1) / 4
        try:
            training.complete(
                task=task,
                principal=self.principal(request),
                performance=performance,
                note=form.cleaned_data["note"],
            )
        except AtomError as exc:
            messages.error(request, exc.message)
        else:
            messages.success(request, f"Completed: {task}.")
        # The dialog posts in the background; htmx goes to another page only when told so in this header.
        if "HX-Request" in request.headers:
            return HttpResponse(headers={"HX-Redirect": self.list_url()})
        return HttpResponseRedirect(self.list_url())

    @column("Status", ordering="status", label=TRAINING_LABELS)
    def shown_status(self, row: TrainingTask) -> str:
        return row.status

    @column("Arguments")
    def shown_arguments(self, row: TrainingTask) -> SafeString:
        return data_html(row.arguments)


@admin.register(ConfidenceChange)
class ConfidenceAdmin(DecidedAdmin):
    list_display = ["created", "agent", "event", "delta", "confidence", "reason"]
    list_filter = ["event", "agent", "created_at"]
    fields = ["created", "agent", "event", "delta", "applied", "confidence", "reason", "source", "source_id"]
    readonly_fields = fields


@admin.register(TriggeredRun)
class TriggeredRunAdmin(DecidedAdmin):
    list_display = ["shown_status", "agent", "trigger", "message", "reason", "created"]
    list_display_links = ["message"]
    list_filter = ["status", "trigger", "agent"]
    fields = [
        "shown_status", "agent", "trigger", "message", "reason", "requested_by", "training", "approval", "run",
        "tries", "expires_at", "created",
    ]  # fmt: skip
    readonly_fields = fields

    @column("Status", ordering="status", label=TRIGGER_LABELS)
    def shown_status(self, row: TriggeredRun) -> tuple[str, str]:
        return row.status, row.get_status_display()
