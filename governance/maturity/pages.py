"""The admin's own pages about levels and the kill switch, and what an agent's page shows of its maturity."""

from itertools import groupby
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.safestring import SafeString
from unfold.widgets import UnfoldAdminDecimalFieldWidget, UnfoldAdminIntegerFieldWidget, UnfoldBooleanSwitchWidget

from agents import queries as agents
from agents.models import Agent, Maturity
from atom.ground.errors import AtomError, NotFound
from atom.ground.models import Scope
from atom.ground.principal import Principal
from atom.ground.workspace_admin import principal_of
from governance.killswitch import kill_agent, set_kill_switch
from governance.maturity import levels, proposals, queries
from governance.maturity.capabilities import Capability, capabilities_of
from governance.maturity.levels import LEVELS
from governance.maturity.readiness import Criterion, evidence_of
from governance.models import Oversight, ProposalStatus
from governance.oversight import change_oversight, oversight_of

LATEST = 8
BADGES = {"allow": "success", "watch": "info", "ask": "warning", "deny": "danger"}
MOST_REASON = 2000


def agent_panel(agent: Agent, principal: Principal) -> SafeString:
    """What stands on an agent's page below its fields: evidence, capabilities, what moved it lately."""
    evidence = evidence_of(agent)
    open_proposals = queries.proposals_of(principal, agent=agent.slug).filter(status=ProposalStatus.OPEN)
    context = {
        "agent": agent,
        "evidence": evidence,
        "criteria": [_line(criterion) for criterion in evidence.criteria],
        "said": evidence.feedback.in_words(evidence.to) if evidence.feedback and evidence.to else "",
        "proposal": open_proposals.first(),
        "capabilities": _by_decision(capabilities_of(agent)),
        "level_changes": queries.levels_of(agent)[:LATEST],
        "confidence_changes": queries.confidence_of(principal, agent.slug)[:LATEST],
        "may_move": Scope.APPROVE in principal.scopes,
        "may_stop": Scope.SUPERVISE in principal.scopes,
    }
    return render_to_string("governance/agent_panel.html", context)


def _line(criterion: Criterion) -> dict[str, Any]:
    is_count = criterion.name == "runs"

    def shown(number: float) -> str:
        return f"{number:g}" if is_count else f"{number:.2f}"

    sign = "≥" if criterion.direction == "at_least" else "≤"
    is_sure = criterion.low == criterion.high
    return {
        "name": criterion.name.replace("_", " ").capitalize(),
        "value": shown(criterion.value),
        "between": "" if is_sure else f"{shown(criterion.low)} and {shown(criterion.high)}",
        "needed": f"{sign} {shown(criterion.needed)}",
        "count": criterion.count,
        "holds": criterion.holds,
        "sentence": criterion.sentence,
    }


def _by_decision(rows: list[Capability]) -> list[tuple[str, str, list[Capability]]]:
    order = list(BADGES)
    rows = sorted(rows, key=lambda row: (order.index(row.decision), row.complexity, row.action))
    return [(decision, BADGES[decision], list(found)) for decision, found in groupby(rows, lambda row: row.decision)]


def agent_level(request: HttpRequest, agent_id: UUID, verb: str) -> HttpResponse:
    """Ask, and then promote, demote or stop one agent."""
    principal = principal_of(request)
    if (Scope.SUPERVISE if verb == "kill" else Scope.APPROVE) not in principal.scopes:
        raise PermissionDenied
    try:
        agent = agents.get_agent(principal, agent_id)
    except NotFound as exc:
        raise Http404 from exc
    back = reverse("admin:agents_agent_change", args=[agent.pk])
    if request.method != "POST":
        return _ask(request, agent, verb, back)
    try:
        _move(agent, principal, verb, request.POST.get("to", ""), request.POST.get("reason", "").strip()[:MOST_REASON])
    except AtomError as exc:
        messages.error(request, exc.message)
    else:
        messages.success(request, f"Done: {verb} {agent.name}.")
    return redirect(back)


def _ask(request: HttpRequest, agent: Agent, verb: str, back: str) -> HttpResponse:
    place = LEVELS.index(Maturity(agent.maturity))
    texts = {
        "promote": f"From {agent.maturity} to {levels.next_level(agent.maturity)}, in force at once.",
        "demote": f"From {agent.maturity} down, in force at once. Its evidence is counted anew.",
        "kill": "What it does ends within a second, and it stays paused until somebody resumes it.",
    }
    context = {
        **admin.site.each_context(request),
        "title": f"{'Stop' if verb == 'kill' else verb.capitalize()} {agent.name}?",
        "text": texts[verb],
        "submit": "Stop now" if verb == "kill" else verb.capitalize(),
        "levels": LEVELS[:place][::-1] if verb == "demote" else [],
        "is_final": verb == "kill",
        "back": back,
    }
    return TemplateResponse(request, "governance/level.html", context)


def _move(agent: Agent, principal: Principal, verb: str, to: str, reason: str) -> None:
    match verb:
        case "promote":
            wanted = levels.next_level(agent.maturity) or agent.maturity
            proposals.promote(agent=agent, principal=principal, to=wanted, reason=reason)
        case "demote":
            if to not in LEVELS:
                raise NotFound("There is no such level.")
            levels.demote(agent=agent, principal=principal, to=to, reason=reason)
        case _:
            kill_agent(agent=agent, principal=principal, reason=reason)


class RulesForm(forms.ModelForm):  # type: ignore[type-arg]  # not subscriptable at run time
    class Meta:
        model = Oversight
        fields = [
            "supervision_required",
            "spot_check_share",
            "actions_per_hour",
            "usd_per_day",
            "transfer_most",
            "batch_most",
        ]
        widgets = {
            "supervision_required": UnfoldBooleanSwitchWidget,
            "spot_check_share": UnfoldAdminDecimalFieldWidget,
            "actions_per_hour": UnfoldAdminIntegerFieldWidget,
            "usd_per_day": UnfoldAdminDecimalFieldWidget,
            "transfer_most": UnfoldAdminDecimalFieldWidget,
            "batch_most": UnfoldAdminIntegerFieldWidget,
        }


def oversight_page(request: HttpRequest) -> HttpResponse:
    """The kill switch with its state, and the rules for all agents."""
    principal = principal_of(request)
    if Scope.SUPERVISE not in principal.scopes:
        raise PermissionDenied
    rules = oversight_of(principal.workspace_id)
    form = RulesForm(request.POST if request.POST.get("form") == "rules" else None, instance=rules)
    if request.method == "POST" and (form.is_valid() if form.is_bound else True):
        try:
            _apply(request, principal, form)
        except AtomError as exc:
            messages.error(request, exc.message)
        return redirect("oversight")
    context = {
        **admin.site.each_context(request),
        "title": "Oversight",
        "rules": oversight_of(principal.workspace_id),
        "form": form,
        "may_switch": Scope.ADMIN in principal.scopes or not rules.is_stopped,
        "may_edit": Scope.ADMIN in principal.scopes,
    }
    return TemplateResponse(request, "governance/oversight.html", context)


def _apply(request: HttpRequest, principal: Principal, form: RulesForm) -> None:
    if form.is_bound:
        change_oversight(principal=principal, **form.cleaned_data)
        messages.success(request, "The rules are in force.")
        return
    on = bool(request.POST.get("on"))
    reason = request.POST.get("reason", "").strip()[:MOST_REASON]
    set_kill_switch(principal=principal, on=on, reason=reason)
    messages.success(request, "All agents are stopped." if on else "The agents may work again.")
