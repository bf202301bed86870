"""Feedback in the admin: read, accepted or rejected."""

from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import Truncator
from unfold.enums import ActionVariant

from atom.ground.admin import WorkspaceAdmin, button, column
from atom.ground.display import NOTHING, moment_html
from atom.ground.errors import AtomError
from atom.ground.models import Scope
from feedback import queries, services
from feedback.models import Feedback, FeedbackStatus

STATUS_LABELS = {
    FeedbackStatus.PENDING: "warning",
    FeedbackStatus.ACCEPTED: "success",
    FeedbackStatus.REJECTED: "danger",
}
SENTIMENT_LABELS = {"positive": "success", "negative": "danger", "neutral": ""}
EFFECTS = {
    True: "It counts as evidence about the agent.",
    False: "It stays readable, and counts for nothing.",
}


@admin.register(Feedback)
class FeedbackAdmin(WorkspaceAdmin):
    view_scope = Scope.FEEDBACK
    list_display = ("agent", "sentiment", "stars", "said", "status_label", "user", "when")
    list_filter = ("agent", "status", "thumb")
    list_select_related = ("agent", "user")
    search_fields = ("comment", "correction", "category")
    ordering = ("-created_at",)
    fields = (
        "agent",
        "conversation",
        "answer",
        "sentiment",
        "stars",
        "correction",
        "comment",
        "category",
        "status_label",
        "note",
        "user",
        "when",
    )
    readonly_fields = fields
    actions_detail = ("accept", "reject")

    @column("Opinion", label=SENTIMENT_LABELS)
    def sentiment(self, row: Feedback) -> str:
        return row.get_sentiment()

    @column("Rating", ordering="rating")
    def stars(self, row: Feedback) -> str:
        return "★" * row.rating + "☆" * (5 - row.rating) if row.rating else NOTHING

    @column("Said")
    def said(self, row: Feedback) -> str:
        return Truncator(row.correction or row.comment).chars(80) or NOTHING

    @column("Status", ordering="status", label=STATUS_LABELS)
    def status_label(self, row: Feedback) -> str:
        return row.status

    @column("When", ordering="created_at")
    def when(self, row: Feedback) -> SafeString:
        return moment_html(row.created_at)

    @column("Answer")
    def answer(self, row: Feedback) -> str:
        return row.message.text or NOTHING

    @column("Session")
    def conversation(self, row: Feedback) -> SafeString:
        if row.session_id is None:
            return SafeString(NOTHING)
        address = reverse("admin:agents_session_change", args=[row.session_id])
        return format_html('<a class="text-primary-600" href="{}">{}</a>', address, row.session)

    def has_judge_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        return self._may(request, Scope.APPROVE)

    @button("Accept", permissions=["judge"], variant=ActionVariant.SUCCESS, icon="check")
    def accept(self, request: HttpRequest, object_id: UUID) -> HttpResponse:
        return self._judge(request, object_id, accepted=True)

    @button("Reject", permissions=["judge"], variant=ActionVariant.DANGER, icon="close")
    def reject(self, request: HttpRequest, object_id: UUID) -> HttpResponse:
        return self._judge(request, object_id, accepted=False)

    def _judge(self, request: HttpRequest, object_id: UUID, *, accepted: bool) -> HttpResponse:
        """Asked first, because a link alone may change nothing."""
        verb = "Accept" if accepted else "Reject"
        if request.method != "POST":
            return self.confirm(request, f"{verb} this feedback?", EFFECTS[accepted], verb)
        principal = self.principal(request)
        note = request.POST.get("reason", "").strip()[:2000]
        try:
            found = queries.get_feedback(principal, object_id)
            services.adjudicate(feedback=found, principal=principal, accepted=accepted, note=note)
            messages.success(request, f"The feedback was {verb.lower()}ed.")
        except AtomError as exc:
            messages.error(request, exc.message)
        return HttpResponseRedirect(reverse("admin:feedback_feedback_changelist"))
