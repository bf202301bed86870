"""The form that drafts an experiment: the question, and up to four variants."""

from typing import Any

from django import forms
from django.forms import BaseFormSet, formset_factory
from unfold.widgets import (
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from agents import queries as agent_queries
from agents.models import Agent
from atom.ground.principal import Principal
from feedback.experiments.results import LEAST_PER_ARM
from feedback.models import Metric, Unit

MOST_ARMS = 4
METRICS = {
    Metric.POSITIVE: "Share of positive feedback",
    Metric.RATING: "Average rating",
    Metric.COST: "Cost of a run",
    Metric.LATENCY: "Time to the first word",
}
UNITS = {Unit.SESSION: "A conversation", Unit.USER: "A person"}


class QuestionForm(forms.Form):
    name = forms.CharField(max_length=100, widget=UnfoldAdminTextInputWidget)
    agent = forms.ModelChoiceField(queryset=Agent.objects.none(), widget=UnfoldAdminSelectWidget)
    metric = forms.ChoiceField(choices=METRICS.items(), widget=UnfoldAdminSelectWidget, label="What is compared")
    unit = forms.ChoiceField(choices=UNITS.items(), widget=UnfoldAdminSelectWidget, label="Who keeps one variant")
    min_effect = forms.FloatField(
        min_value=1e-9,
        max_value=1e6,
        initial=0.1,
        widget=UnfoldAdminDecimalFieldWidget(attrs={"step": "any"}),
        label="Difference worth finding",
        help_text="In the metric's own unit: 0.1 is ten points of positive feedback, stars, dollars or seconds.",
    )
    planned_per_arm = forms.IntegerField(
        required=False,
        min_value=LEAST_PER_ARM,
        max_value=100_000,
        widget=UnfoldAdminIntegerFieldWidget,
        label="Values per variant",
        help_text="Empty: as many as are advised.",
    )

    def __init__(self, principal: Principal, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # A ModelChoiceField, which a form's fields are not typed as.
        self.fields["agent"].queryset = agent_queries.agents_of(principal)  # type: ignore[attr-defined]


class ArmForm(forms.Form):
    """What is left empty stays as the agent has it."""

    name = forms.CharField(max_length=60, widget=UnfoldAdminTextInputWidget)
    weight = forms.IntegerField(min_value=1, max_value=100, initial=1, widget=UnfoldAdminIntegerFieldWidget)
    system_prompt = forms.CharField(
        required=False, max_length=100_000, strip=False, widget=UnfoldAdminTextareaWidget(attrs={"rows": 3})
    )
    models = forms.CharField(
        required=False, max_length=2000, widget=UnfoldAdminTextInputWidget, help_text="By commas, the preferred first."
    )
    temperature = forms.FloatField(
        required=False, min_value=0, max_value=2, widget=UnfoldAdminDecimalFieldWidget(attrs={"step": "any"})
    )

    def clean_models(self) -> list[str] | None:
        return [name.strip() for name in self.cleaned_data["models"].split(",") if name.strip()] or None

    def clean_system_prompt(self) -> str | None:
        return self.cleaned_data["system_prompt"] or None


ArmForms: type["BaseFormSet[ArmForm]"] = formset_factory(
    ArmForm, extra=MOST_ARMS, min_num=0, max_num=MOST_ARMS, absolute_max=MOST_ARMS
)


def arms_of(forms_: "BaseFormSet[ArmForm]") -> list[dict[str, Any]]:
    """The variants that were filled in."""
    return [form.cleaned_data for form in forms_ if form.has_changed()]
