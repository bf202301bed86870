"""Experiments in the admin: drafted, started, stopped, and read with what may be concluded from them."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.safestring import SafeString
from unfold.enums import ActionVariant

from atom.ground.admin import WorkspaceAdmin, button, column
from atom.ground.display import moment_html
from atom.ground.errors import AtomError
from atom.ground.models import Scope
from feedback.admin.experiment_form import METRICS, UNITS, ArmForms, QuestionForm, arms_of
from feedback.admin.experiment_results import difference, shown
from feedback.experiments import services
from feedback.experiments.advice import Advice, advise
from feedback.models import Experiment, ExperimentStatus, Metric, Unit
from feedback.queries.experiments import experiments_of, get_experiment

STATUS_LABELS = {
    ExperimentStatus.DRAFT: "",
    ExperimentStatus.RUNNING: "info",
    ExperimentStatus.COMPLETED: "success",
}


@admin.register(Experiment)
class ExperimentAdmin(WorkspaceAdmin):
    view_scope = Scope.FEEDBACK
    add_scope = Scope.ADMIN
    list_display = ("name", "agent", "compared", "status_label", "started", "ended")
    list_filter = ("agent", "status", "metric")
    search_fields = ("name",)
    fields = ("agent", "compared", "keeper", "worth_finding", "planned", "status_label", "started", "ended")
    readonly_fields = fields
    change_form_outer_before_template = "feedback/experiment_results.html"
    actions_detail = ("start", "stop", "promote", "remove")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Experiment]:
        return experiments_of(self.principal(request))

    @column("Status", ordering="status", label=STATUS_LABELS)
    def status_label(self, row: Experiment) -> str:
        return row.status

    @column("Started", ordering="started_at")
    def started(self, row: Experiment) -> SafeString:
        return moment_html(row.started_at)

    @column("Ended", ordering="ended_at")
    def ended(self, row: Experiment) -> SafeString:
        return moment_html(row.ended_at)

    @column("What is compared", ordering="metric")
    def compared(self, row: Experiment) -> str:
        return METRICS[Metric(row.metric)]

    @column("Who keeps one variant")
    def keeper(self, row: Experiment) -> str:
        return UNITS[Unit(row.unit)]

    @column("Difference worth finding")
    def worth_finding(self, row: Experiment) -> str:
        return difference(row.metric, row.min_effect).removeprefix("+")

    @column("Values per variant")
    def planned(self, row: Experiment) -> str:
        return f"{row.planned_per_arm} planned"

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        return super().render_change_form(request, {**context, "results": shown(context["original"])}, *args, **kwargs)

    def has_start_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        return self._is(request, object_id, ExperimentStatus.DRAFT)

    def has_stop_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        return self._is(request, object_id, ExperimentStatus.RUNNING)

    def has_promote_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        return self._is(request, object_id, ExperimentStatus.COMPLETED)

    def _is(self, request: HttpRequest, object_id: Any, status: str) -> bool:
        if not self.has_add_permission(request) or not object_id:
            return False
        return self.get_queryset(request).filter(pk=object_id, status=status).exists()

    @button("Start", permissions=["start"], variant=ActionVariant.PRIMARY, icon="play_arrow")
    def start(self, request: HttpRequest, object_id: UUID) -> HttpResponse:
        text = "From now on conversations are served by its variants, each by the same one throughout."
        return self._asked(request, object_id, ("Start this experiment?", text, "Start"), services.start_experiment)

    @button("Stop", permissions=["stop"], variant=ActionVariant.DANGER, icon="stop")
    def stop(self, request: HttpRequest, object_id: UUID) -> HttpResponse:
        text = "The agent answers as it is again, and the figures stay as they are."
        reason = request.POST.get("reason", "").replace("\x00", "").strip()[:2000]
        return self._asked(
            request, object_id, ("Stop this experiment?", text, "Stop"), services.stop_experiment, reason=reason
        )

    @button("Promote the winner", permissions=["promote"], variant=ActionVariant.SUCCESS, icon="military_tech")
    def promote(self, request: HttpRequest, object_id: UUID) -> HttpResponse:
        text = "The agent becomes what the winning variant is."
        return self._asked(request, object_id, ("Promote the winner?", text, "Promote"), services.promote_winner)

    @button("Delete the draft", permissions=["start"], icon="delete", url_path="remove")
    def remove(self, request: HttpRequest, object_id: UUID) -> HttpResponse:
        asked = ("Delete this draft?", "Nobody was served by it.", "Delete")
        return self._asked(request, object_id, asked, services.delete_draft, is_gone=True)

    def _asked(
        self,
        request: HttpRequest,
        object_id: UUID,
        asked: tuple[str, str, str],
        act: Callable[..., Any],
        *,
        is_gone: bool = False,
        **given: Any,
    ) -> HttpResponse:
        """Asked first, because a link alone may change nothing."""
        if request.method != "POST":
            return self.confirm(request, *asked)
        principal = self.principal(request)
        page = reverse("admin:feedback_experiment_change", args=[object_id])
        try:
            act(experiment=get_experiment(principal, object_id), principal=principal, **given)
            messages.success(request, "Done.")
        except AtomError as exc:
            messages.error(request, exc.message)
            is_gone = False
        return HttpResponseRedirect(reverse("admin:feedback_experiment_changelist") if is_gone else page)

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The question and its variants; *Advise* says how many values it takes, *Save* makes the draft."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        principal, sent = self.principal(request), request.POST or None
        question, arms, advice = QuestionForm(principal, sent), ArmForms(sent, prefix="arms"), None
        if sent and question.is_valid() and arms.is_valid():
            asked, variants = question.cleaned_data, arms_of(arms)
            try:
                if "advise" not in sent:
                    made = services.create_experiment(principal=principal, variants=variants, **asked)
                    return HttpResponseRedirect(reverse("admin:feedback_experiment_change", args=[made.pk]))
                advice = _advice(asked, max(2, len(variants)))
            except AtomError as exc:
                question.add_error(None, exc.message)
        context = {
            **self.admin_site.each_context(request),
            "title": "A new experiment",
            "opts": self.opts,
            "question": question,
            "arms": arms,
            "advice": advice,
            "media": self.media + question.media,
        }
        return TemplateResponse(request, "feedback/experiment_form.html", context)


def _advice(asked: dict[str, Any], arms: int) -> Advice:
    return advise(asked["agent"], metric=asked["metric"], min_effect=asked["min_effect"], arms=arms)
