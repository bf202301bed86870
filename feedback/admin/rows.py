"""Feedback in the admin: read, and judged; what waits for a reviewer has a page of its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.text import Truncator
from unfold.enums import ActionVariant

from atom.ground.admin import button, column
from atom.ground.display import NOTHING, data_html, moment_html
from atom.ground.errors import AtomError
from atom.ground.models import Scope
from feedback import queries
from feedback.admin.giving import GivingAdmin
from feedback.diff import Piece, compare
from feedback.downloads import download
from feedback.models import Feedback, FeedbackStatus, FeedbackToJudge, Part
from feedback.queries.rows import SENTIMENTS
from feedback.services import judging
from feedback.services.judging import Decision

STATUS_LABELS = {
    FeedbackStatus.PENDING: "warning",
    FeedbackStatus.ACCEPTED: "success",
    FeedbackStatus.REJECTED: "danger",
    FeedbackStatus.SPLIT: "info",
}
SENTIMENT_LABELS = {"positive": "success", "negative": "danger", "neutral": ""}
DIFF_TAGS = {"same": "span", "removed": "del", "added": "ins"}


@dataclass(frozen=True, slots=True)
class Verdict:
    """A button of the page: what it asks, what it does, and how the person is told."""

    decision: Decision
    title: str
    effect: str
    submit: str
    done: str
    keep: str = ""


ACCEPT = Verdict("accept", "Accept this feedback?", "It counts as evidence about the agent.", "Accept", "accepted")
REJECT = Verdict("reject", "Reject this feedback?", "It stays readable, and is no evidence.", "Reject", "rejected")
KEEP_OPINION = Verdict(
    "split",
    "Accept the opinion only?",
    "The thumb and the rating count as evidence; the correction does not.",
    "Accept the opinion",
    "split",
    Part.OPINION,
)
KEEP_CORRECTION = Verdict(
    "split",
    "Accept the correction only?",
    "The correction counts as evidence; the thumb and the rating do not.",
    "Accept the correction",
    "split",
    Part.CORRECTION,
)


class SentimentFilter(admin.SimpleListFilter):
    title = "opinion"
    parameter_name = "sentiment"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, name.title()) for name in SENTIMENTS]

    def queryset(self, request: HttpRequest, rows: QuerySet[Any]) -> QuerySet[Any]:
        wanted = SENTIMENTS.get(self.value() or "")
        return rows.filter(wanted) if wanted is not None else rows


class CorrectedFilter(admin.SimpleListFilter):
    title = "correction"
    parameter_name = "corrected"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "With a better answer"), ("no", "Without")]

    def queryset(self, request: HttpRequest, rows: QuerySet[Any]) -> QuerySet[Any]:
        match self.value():
            case "yes":
                return rows.exclude(correction="")
            case "no":
                return rows.filter(correction="")
            case _:
                return rows


@admin.register(Feedback)
class FeedbackAdmin(GivingAdmin):
    view_scope = Scope.FEEDBACK
    list_display = ("agent", "sentiment", "stars", "said", "category", "status_label", "author", "when")
    list_filter: Sequence[Any] = (
        "agent",
        "status",
        SentimentFilter,
        CorrectedFilter,
        ("provider", admin.AllValuesFieldListFilter),
        ("model", admin.AllValuesFieldListFilter),
        ("category", admin.AllValuesFieldListFilter),
    )
    list_select_related: Sequence[str] = ("agent", "user")
    search_fields = ("comment", "correction", "category")
    ordering = ("-created_at",)
    fields = (
        "agent",
        "conversation",
        "answer",
        "sentiment",
        "stars",
        "correction",
        "changes",
        "comment",
        "category",
        "tagged",
        "status_label",
        "note",
        "assignee",
        "author",
        "when",
        "before",
    )
    readonly_fields = fields
    actions_list: Sequence[Any] = (
        {"title": "Download", "icon": "download", "items": ["as_csv", "as_json", "corrections"]},
    )
    actions_detail = ("accept", "reject", "keep_opinion", "keep_correction", "take")

    @column("Opinion", label=SENTIMENT_LABELS)
    def sentiment(self, row: Feedback) -> str:
        return row.get_sentiment()

    @column("Rating", ordering="rating")
    def stars(self, row: Feedback) -> str:
        return "★" * row.rating + "☆" * (5 - row.rating) if row.rating else NOTHING

    @column("From", ordering="user")
    def author(self, row: Feedback) -> str:
        return str(row.user) if row.user else "a feedback link" if row.link_id else NOTHING

    @column("Tags")
    def tagged(self, row: Feedback) -> str:
        return ", ".join(row.tags) or NOTHING

    @column("What the correction changes")
    def changes(self, row: Feedback) -> SafeString:
        if not row.correction:
            return SafeString(NOTHING)
        pieces = ((DIFF_TAGS[piece.op], piece.text, DIFF_TAGS[piece.op]) for piece in _diff(row))
        return format_html('<div class="atom-diff">{}</div>', format_html_join("", "<{}>{}</{}>", pieces))

    @column("Said before")
    def before(self, row: Feedback) -> SafeString:
        said = [(revision.replaced_at, revision.said) for revision in row.revisions.all()]
        if not said:
            return SafeString(NOTHING)
        facts = [{"until": f"{at:%Y-%m-%d %H:%M}", **_told(words)} for at, words in said]
        return data_html(facts)

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

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).filter(withdrawn_at=None)

    @button("As CSV", permissions=["view"], url_path="csv")
    def as_csv(self, request: HttpRequest) -> HttpResponseBase:
        return self._download(request, "csv")

    @button("As JSON", permissions=["view"], url_path="json")
    def as_json(self, request: HttpRequest) -> HttpResponseBase:
        return self._download(request, "json")

    @button("Corrections as JSONL", permissions=["view"], url_path="dataset")
    def corrections(self, request: HttpRequest) -> HttpResponseBase:
        return self._download(request, "jsonl")

    def _download(self, request: HttpRequest, form: str) -> HttpResponseBase:
        """What the list shows with the filters and the search of this address, on all its pages."""
        try:
            return download(self.get_changelist_instance(request).queryset, form)
        except IncorrectLookupParameters:
            # As the list itself answers what is no filter.
            return HttpResponseRedirect(f"{reverse('admin:feedback_feedback_changelist')}?e=1")

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, str] | None = None) -> HttpResponse:
        """The list's filters go with its downloads."""
        page: HttpResponse = super().changelist_view(request, extra_context)
        chosen = request.GET.copy()
        chosen.pop("p", None)
        if chosen and isinstance(page, TemplateResponse) and page.context_data:
            for menu in page.context_data["actions_list"]:
                for item in menu["items"]:
                    item["path"] += f"?{chosen.urlencode()}"
        return page

    def has_judge_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        found = self._found(request, object_id)
        return found is not None and judging.may_judge(self.principal(request), found)

    def has_split_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        found = self._found(request, object_id)
        return found is not None and found.can_split and self.has_judge_permission(request, object_id)

    def _found(self, request: HttpRequest, object_id: Any) -> Feedback | None:
        if not self.has_view_permission(request) or not object_id:
            return None
        found: Feedback | None = self.get_queryset(request).filter(pk=object_id).first()
        return found

    @button("Accept", permissions=["judge"], variant=ActionVariant.SUCCESS, icon="check")
    def accept(self, request: HttpRequest, object_id: UUID) -> HttpResponse:
        return self._judge(request, object_id, ACCEPT)

    @button("Reject", permissions=["judge"], variant=ActionVariant.DANGER, icon="close")
    def reject(self, request: HttpRequest, object_id: UUID) -> HttpResponse:
        return self._judge(request, object_id, REJECT)

    @button("Opinion only", permissions=["split"], icon="call_split", url_path="keep-opinion")
    def keep_opinion(self, request: HttpRequest, object_id: UUID) -> HttpResponse:
        return self._judge(request, object_id, KEEP_OPINION)

    @button("Correction only", permissions=["split"], icon="call_split", url_path="keep-correction")
    def keep_correction(self, request: HttpRequest, object_id: UUID) -> HttpResponse:
        return self._judge(request, object_id, KEEP_CORRECTION)

    @button("Assign to me", permissions=["judge"], icon="assignment_ind")
    def take(self, request: HttpRequest, object_id: UUID) -> HttpResponse:
        if request.method != "POST":
            return self.confirm(request, "Assign this to yourself?", "It moves to your queue.", "Assign to me")
        principal = self.principal(request)
        try:
            found = queries.get_feedback(principal, object_id)
            judging.assign(feedback=found, principal=principal, user_id=principal.user_id)
            messages.success(request, "It is yours now.")
        except AtomError as exc:
            messages.error(request, exc.message)
        return HttpResponseRedirect(reverse("admin:feedback_feedbacktojudge_changelist"))

    def _judge(self, request: HttpRequest, object_id: UUID, verdict: Verdict) -> HttpResponse:
        """Asked first, because a link alone may change nothing."""
        if request.method != "POST":
            return self.confirm(request, verdict.title, verdict.effect, verdict.submit)
        principal = self.principal(request)
        note = request.POST.get("reason", "").replace("\x00", "").strip()[:2000]
        try:
            found = queries.get_feedback(principal, object_id)
            judging.adjudicate(
                feedback=found, principal=principal, decision=verdict.decision, keep=verdict.keep, note=note
            )
            messages.success(request, f"The feedback was {verdict.done}.")
        except AtomError as exc:
            messages.error(request, exc.message)
        return HttpResponseRedirect(reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist"))


def _diff(row: Feedback) -> list[Piece]:
    return compare(row.message.text, row.correction)


def _told(words: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in words.items() if value}


class MineFilter(admin.SimpleListFilter):
    title = "assignee"
    parameter_name = "assigned"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("me", "Me"), ("nobody", "Nobody")]

    def queryset(self, request: HttpRequest, rows: QuerySet[Any]) -> QuerySet[Any]:
        match self.value():
            case "me":
                return rows.filter(assignee_id=request.user.pk)
            case "nobody":
                return rows.filter(assignee=None)
            case _:
                return rows


@admin.register(FeedbackToJudge)
class QueueAdmin(FeedbackAdmin):
    """What waits for a review that this person may give, the oldest first."""

    add_scope = None
    list_display = ("agent", "sentiment", "stars", "said", "category", "assignee", "author", "when")
    list_filter = ("agent", MineFilter, ("category", admin.AllValuesFieldListFilter))
    list_select_related = ("agent", "user", "assignee")
    ordering = ("created_at",)
    actions_list = ()

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        waiting = queries.queue_of(self.principal(request)).values("pk")
        return super().get_queryset(request).filter(pk__in=waiting)
