"""Access tokens in the admin, with what limits them: an agent, models, and how long they wait for approvals."""

from collections.abc import Sequence
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget

from agents import queries
from agents.models import Agent, AgentStatus
from agents.token_services import checked_models, issue_token
from atom.ground.admin import AccessTokenAdmin, NewTokenForm, column
from atom.ground.errors import BadRequest
from atom.ground.models import AccessToken


class NewBoundTokenForm(NewTokenForm):
    """A new token with its limits."""

    agent = forms.ModelChoiceField(
        Agent.objects.none(),
        required=False,
        to_field_name="slug",
        empty_label="any agent",
        widget=UnfoldAdminSelectWidget,
        help_text="The only agent that it acts as.",
    )
    models = forms.CharField(
        required=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="The only models that it may use, one provider/model a line; every model when empty.",
    )

    class Meta(NewTokenForm.Meta):
        fields = [*NewTokenForm.Meta.fields, "agent", "models", "approval_hold_seconds"]
        help_texts = {
            "approval_hold_seconds": "How long a request waits for an approval before it answers that one is pending;"
            " as the installation says when empty."
        }

    def clean_models(self) -> list[str] | None:
        named = [line.strip() for line in self.cleaned_data["models"].splitlines() if line.strip()]
        try:
            return checked_models(named or None)
        except BadRequest as exc:
            raise forms.ValidationError(exc.message) from exc


@admin.register(AccessToken)
class BoundTokenAdmin(AccessTokenAdmin):
    """With the agent, the models and the hold of each token."""

    form = NewBoundTokenForm
    new_fields = ("name", "scopes", "agent", "models", "approval_hold_seconds", "expires_at")

    def get_queryset(self, request: HttpRequest) -> QuerySet[AccessToken]:
        return super().get_queryset(request).select_related("binding__agent")

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Sequence[Any]:
        shown = super().get_fields(request, obj)
        if obj is None:
            return shown
        return [*shown, "shown_agent", "shown_models", "hold"]

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change, **kwargs)
        if "agent" in form.base_fields:
            agents = queries.agents_of(self.principal(request)).exclude(status=AgentStatus.RETIRED)
            form.base_fields["agent"].queryset = agents
        return form

    def make(self, request: HttpRequest, form: Any) -> tuple[AccessToken, str]:
        given = dict(form.cleaned_data)
        agent = given.pop("agent")
        return issue_token(principal=self.principal(request), agent=agent.slug if agent else None, **given)

    @column("Agent")
    def shown_agent(self, token: AccessToken) -> str:
        return token.binding.agent.slug if hasattr(token, "binding") else "any"

    @column("Models")
    def shown_models(self, token: AccessToken) -> str:
        return "every model" if token.models is None else ", ".join(token.models)

    @column("Waits for approvals")
    def hold(self, token: AccessToken) -> str:
        wanted = token.approval_hold_seconds
        return "as the installation says" if wanted is None else f"{wanted} s"
