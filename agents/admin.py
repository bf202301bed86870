"""Agents, sessions and runs in the admin."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html
from django.utils.module_loading import import_string
from django.utils.safestring import SafeString
from rest_framework.exceptions import ErrorDetail
from unfold.enums import ActionVariant
from unfold.widgets import UnfoldAdminTextareaWidget

from agents import queries, services
from agents import token_admin as tokens_page  # noqa: F401  # its page registers itself
from agents.api.serializers import ToolIn
from agents.models import Agent, AgentStatus, Maturity, Run, RunStatus, Session
from agents.threads import Turn, thread_of
from agents.tools.declared import check_tools
from atom.ground.admin import WorkspaceAdmin, button, column
from atom.ground.display import count, data_html, moment_html, money, seconds, share_html
from atom.ground.errors import AtomError
from llm.attempts import LEFT, SUCCEEDED

MATURITY_LABELS = {
    Maturity.STUDENT: "",
    Maturity.INTERN: "info",
    Maturity.SUPERVISED: "warning",
    Maturity.AUTONOMOUS: "success",
}
STATUS_LABELS = {AgentStatus.ACTIVE: "success", AgentStatus.PAUSED: "warning", AgentStatus.RETIRED: ""}
RUN_LABELS = {
    RunStatus.QUEUED: "",
    RunStatus.RUNNING: "info",
    RunStatus.PAUSED: "warning",
    RunStatus.WAITING_APPROVAL: "warning",
    RunStatus.SUCCEEDED: "success",
    RunStatus.FAILED: "danger",
    RunStatus.CANCELLED: "",
    RunStatus.INTERRUPTED: "warning",
    RunStatus.TERMINATED: "danger",
}

ATTEMPT_LABELS = {SUCCEEDED: "success", LEFT: "warning"}


def _first_error(errors: Any) -> str:
    """The first sentence in REST framework's nest of errors, with the field that it belongs to."""
    if isinstance(errors, ErrorDetail):
        return str(errors)
    if isinstance(errors, dict):
        field, inner = next(iter(errors.items()))
        return f"{field}: {_first_error(inner)}"
    return _first_error(next(error for error in errors if error))


class AgentForm(forms.ModelForm):  # type: ignore[type-arg]  # not subscriptable at run time
    """An agent as people edit it: models one per line, tools as a JSON list."""

    workspace_id: UUID

    models = forms.CharField(
        required=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3, "placeholder": "provider/model"}),
        help_text="One per line; the first that answers is used. Empty: Atom chooses.",
    )
    tools = forms.JSONField(
        required=False,
        initial=list,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 8, "class": "atom-code", "spellcheck": "false"}),
        help_text="A list of tools that Atom runs: name, description, parameters, action, kind (http), url, method, "
        "secret; or kind (mcp), server, name. A secret is sealed and not shown again.",
    )

    class Meta:
        model = Agent
        fields = ["name", "slug", "maturity", "system_prompt"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not self.instance._state.adding:
            self.initial["models"] = "\n".join(self.instance.models)

    def clean_slug(self) -> str:
        slug = str(self.cleaned_data["slug"])
        if Agent.objects.filter(workspace_id=self.workspace_id, slug=slug).exists():
            raise forms.ValidationError("There is already an agent with this slug.")
        return slug

    def clean_models(self) -> list[str]:
        return [line.strip() for line in self.cleaned_data["models"].splitlines() if line.strip()]

    def clean_tools(self) -> list[dict[str, Any]]:
        given = self.cleaned_data["tools"] or []
        if not isinstance(given, list):
            raise forms.ValidationError("Tools are a list: [{…}, {…}].")
        data = ToolIn(data=given, many=True)
        if not data.is_valid():
            raise forms.ValidationError(_first_error(data.errors))
        try:
            check_tools(workspace_id=self.workspace_id, tools=data.validated_data)
        except AtomError as exc:
            raise forms.ValidationError(exc.message) from exc
        return [dict(tool) for tool in data.validated_data]


@admin.register(Agent)
class AgentAdmin(WorkspaceAdmin):
    """Maturity is chosen when an agent is registered; from then on it moves by evidence."""

    view_scope = "chat"
    add_scope = change_scope = "admin"
    form = AgentForm
    list_display = ["name", "shown_slug", "shown_maturity", "shown_status", "shown_confidence", "created"]
    list_filter = ["maturity", "status"]
    search_fields = ["name", "slug", "system_prompt"]
    actions_detail = ["chat", "pause", "resume", "retire"]
    change_form_outer_after_template = "admin/agents/agent/panels.html"

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        if obj is None:
            who: list[Any] = ["name", "slug", "maturity"]
        else:
            who = ["name", "shown_slug", ("shown_maturity", "shown_status"), "shown_confidence", "created"]
        may_edit = self.has_change_permission(request)
        work = ["system_prompt", "models", "tools"] if may_edit else ["prompt", "shown_models", "shown_tools"]
        return [(None, {"fields": who}), ("What it does", {"fields": work})]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Sequence[Any]:
        if obj is None:
            return []
        shown = ["shown_slug", "shown_maturity", "shown_status", "shown_confidence", "created"]
        return [*shown, "prompt", "shown_models", "shown_tools"]

    def get_prepopulated_fields(self, request: HttpRequest, obj: Any = None) -> dict[str, Sequence[str]]:
        return {"slug": ["name"]} if obj is None else {}

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change, **kwargs)
        form.workspace_id = self.principal(request).workspace_id
        return form

    def save_model(self, request: HttpRequest, obj: Agent, form: Any, change: bool) -> None:
        principal = self.principal(request)
        if change:
            changes = {name: form.cleaned_data[name] for name in form.changed_data}
            services.update_agent(agent=obj, by=principal.username, **changes)
            return
        agent = services.create_agent(
            workspace_id=principal.workspace_id,
            owner_id=principal.user_id,
            by=principal.username,
            **form.cleaned_data,
        )
        obj.__dict__.update(agent.__dict__)

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """With what other rooms know of the agent, below its own fields."""
        agent = context.get("original")
        panels = [import_string(path) for path in settings.AGENT_PANELS] if agent else []
        shown = {"panels": [panel(agent, self.principal(request)) for panel in panels]}
        return super().render_change_form(request, {**context, **shown}, *args, **kwargs)

    # Each button shows only where it would do something.
    def _is(self, request: HttpRequest, object_id: Any, *statuses: str) -> bool:
        agent = self.get_object(request, str(object_id)) if object_id else None
        return agent is not None and agent.status in statuses

    def has_talk_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        return self._is(request, object_id, AgentStatus.ACTIVE)

    def has_pause_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        return self.has_change_permission(request) and self._is(request, object_id, AgentStatus.ACTIVE)

    def has_resume_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        return self.has_change_permission(request) and self._is(request, object_id, AgentStatus.PAUSED)

    def has_retire_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        return self.has_change_permission(request) and self._is(
            request, object_id, AgentStatus.ACTIVE, AgentStatus.PAUSED
        )

    @button("Chat", permissions=["talk"], icon="forum", variant=ActionVariant.PRIMARY, url_path="talk")
    def chat(self, request: HttpRequest, object_id: str) -> HttpResponse:
        agent = queries.get_agent(self.principal(request), UUID(object_id))
        return HttpResponseRedirect(f"{reverse('playground')}?agent={agent.slug}")

    @button("Pause", permissions=["pause"], icon="pause", url_path="pause")
    def pause(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._set_status(
            request, object_id, AgentStatus.PAUSED, "Pause", "It answers nobody until it is resumed."
        )

    @button("Resume", permissions=["resume"], icon="play_arrow", url_path="resume")
    def resume(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._set_status(request, object_id, AgentStatus.ACTIVE, "Resume", "It answers again at once.")

    @button("Retire", permissions=["retire"], icon="archive", variant=ActionVariant.DANGER, url_path="retire")
    def retire(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._set_status(
            request, object_id, AgentStatus.RETIRED, "Retire", "It never comes back; its history stays."
        )

    def _set_status(self, request: HttpRequest, object_id: str, status: str, verb: str, effect: str) -> HttpResponse:
        agent = self.get_object(request, object_id)
        if agent is None:
            raise Http404
        if request.method != "POST":
            return self.confirm(request, f"{verb} {agent.name}?", effect, verb, is_final=status == AgentStatus.RETIRED)
        reason = request.POST.get("reason", "").strip()[:2000]
        services.set_status(agent=agent, status=status, reason=reason, by=self.principal(request).username)
        messages.success(request, f"{agent.name} is {status}.")
        return HttpResponseRedirect(reverse("admin:agents_agent_change", args=[agent.pk]))

    @column("Slug", ordering="slug")
    def shown_slug(self, agent: Agent) -> SafeString:
        return format_html("<code>{}</code>", agent.slug)

    @column("Maturity", ordering="maturity", label=MATURITY_LABELS)
    def shown_maturity(self, agent: Agent) -> str:
        return agent.maturity

    @column("Status", ordering="status", label=STATUS_LABELS)
    def shown_status(self, agent: Agent) -> str:
        return agent.status

    @column("Confidence", ordering="confidence")
    def shown_confidence(self, agent: Agent) -> SafeString:
        return share_html(agent.confidence, "Confidence")

    @column("Registered", ordering="created_at")
    def created(self, agent: Agent) -> SafeString:
        return moment_html(agent.created_at)

    @column("System prompt")
    def prompt(self, agent: Agent) -> SafeString:
        return format_html('<div class="atom-text">{}</div>', agent.system_prompt or "-")

    @column("Models")
    def shown_models(self, agent: Agent) -> SafeString:
        return data_html(agent.models)

    @column("Tools")
    def shown_tools(self, agent: Agent) -> SafeString:
        return data_html(agent.tools)


@admin.register(Session)
class SessionAdmin(WorkspaceAdmin):
    """Conversations, read as threads."""

    view_scope = "chat"
    change_form_template = "admin/agents/session/change_form.html"
    list_display = ["shown_title", "agent", "user", "turns", "updated"]
    list_filter = ["agent", "user"]
    search_fields = ["title"]
    fields: Sequence[str] = []

    def get_queryset(self, request: HttpRequest) -> QuerySet[Session]:
        rows = queries.sessions_of(self.principal(request)).select_related("agent", "user")
        # Counting messages groups the rows, which drops the model's own order.
        return rows.order_by("-updated_at")

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        session: Session = context["original"]
        runs = list(session.runs.order_by("created_at"))
        turns: list[Turn] = thread_of(queries.messages_of(session), runs)
        extra = {"thread": turns, "run_count": len(runs), "title": session.title or "Untitled session"}
        return super().render_change_form(request, {**context, **extra}, *args, **kwargs)

    @column("Title", ordering="title")
    def shown_title(self, session: Session) -> str:
        return session.title or "Untitled session"

    @column("Messages")
    def turns(self, session: Any) -> int:
        return int(session.message_count)

    @column("Last active", ordering="updated_at")
    def updated(self, session: Session) -> SafeString:
        return moment_html(session.updated_at)


@admin.register(Run)
class RunAdmin(WorkspaceAdmin):
    """Every turn, with its cost and how it ended."""

    view_scope = "chat"
    change_form_template = "admin/agents/run/change_form.html"
    list_display = [
        "started",
        "shown_status",
        "agent",
        "served_by",
        "tokens",
        "cost",
        "first_token",
        "duration",
        "shown_error",
    ]
    list_filter = ["status", "agent", "provider", "door"]
    search_fields = ["id", "model", "provider", "error_code"]
    date_hierarchy = "created_at"
    fields: Sequence[str] = []

    def get_queryset(self, request: HttpRequest) -> QuerySet[Run]:
        return queries.runs_of(self.principal(request)).select_related("agent", "user", "session")

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        run: Run = context["original"]
        extra = {
            "title": f"Run of {run.agent.name}",
            "thread": thread_of(run.messages.order_by("created_at"), [run]),
            "facts": self._facts(run),
            "status_label": RUN_LABELS[RunStatus(run.status)],
            "tried": [(one, ATTEMPT_LABELS.get(one.outcome, "danger")) for one in run.tried.all()],
            "timeline": [(event, data_html(event.data)) for event in queries.events_of(run)],
        }
        return super().render_change_form(request, {**context, **extra}, *args, **kwargs)

    def _facts(self, run: Run) -> list[tuple[str, Any]]:
        tokens = f"{count(run.input_tokens)} in, {count(run.output_tokens)} out"
        if run.cached_tokens:
            tokens += f", {count(run.cached_tokens)} cached"
        return [
            ("Served by", self.served_by(run)),
            ("Asked for", run.model_requested or "-"),
            ("Calls made", run.attempts),
            ("Tokens", tokens),
            ("Cost", money(run.cost_usd)),
            ("First token", seconds(run.time_to_first_token_s)),
            ("Duration", seconds(run.duration_s)),
            ("Door", run.door or "-"),
            ("Asked by", run.user or "-"),
            ("Started", moment_html(run.created_at)),
            ("Trace", format_html('<a href="{}?id={}">all about it</a>', reverse("trace-page"), run.pk)),
        ]

    @column("Started", ordering="created_at")
    def started(self, run: Run) -> SafeString:
        return moment_html(run.created_at)

    @column("Status", ordering="status", label=RUN_LABELS)
    def shown_status(self, run: Run) -> tuple[str, str]:
        return run.status, run.get_status_display()

    @column("Model", ordering="model")
    def served_by(self, run: Run) -> str:
        return f"{run.provider}/{run.model}" if run.model else "-"

    @column("Tokens", ordering="output_tokens")
    def tokens(self, run: Run) -> str:
        return count(run.input_tokens + run.output_tokens)

    @column("Cost", ordering="cost_usd")
    def cost(self, run: Run) -> str:
        return money(run.cost_usd)

    @column("First token", ordering="time_to_first_token_s")
    def first_token(self, run: Run) -> str:
        return seconds(run.time_to_first_token_s)

    @column("Duration")
    def duration(self, run: Run) -> str:
        return seconds(run.duration_s)

    @column("Error", ordering="error_code")
    def shown_error(self, run: Run) -> str:
        return run.error_code.replace("_", " ") or "-"
