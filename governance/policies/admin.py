"""Policies in the admin: the editor, the versions and their differences, and activation after a replay."""

import difflib
import json
from collections.abc import Sequence
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from unfold.enums import ActionVariant
from unfold.widgets import UnfoldAdminTextInputWidget

from atom.ground.admin import WorkspaceAdmin, button, column, principal_of
from atom.ground.display import moment_html
from atom.ground.errors import AtomError
from atom.ground.models import Scope
from governance.models import Policy, PolicyVersion, ReplayStatus
from governance.policies import queries, services
from governance.policies.problems import PolicyRefused
from governance.policies.reading import check_policy

STARTER = """\
version: 1
rules:
  - name: large-transfers
    actions: [transfer, pay]
    decision: ask
    when: arguments.amount > 500
    examples:
      ask: [{arguments: {amount: 900}}]
      allow: [{arguments: {amount: 20}}]
"""
STATES = {"active": "success", "shadow": "info", "draft": ""}


class PolicyEditor(forms.Textarea):
    """A textarea with line numbers, which shows where a problem is."""

    template_name = "governance/policy_editor.html"

    def __init__(self) -> None:
        super().__init__(attrs={"rows": 24, "spellcheck": "false", "wrap": "off", "autocapitalize": "off"})
        self.problems: list[dict[str, Any]] = []

    def get_context(self, name: str, value: Any, attrs: Any) -> dict[str, Any]:
        context = super().get_context(name, value, attrs)
        return {**context, "problems": self.problems, "problems_json": json.dumps(self.problems)}


class PolicyForm(forms.ModelForm):  # type: ignore[type-arg]  # not subscriptable at run time
    """A name and a document; what is wrong with the document is shown at its place."""

    request: HttpRequest
    name = forms.CharField(max_length=40, widget=UnfoldAdminTextInputWidget)
    document = forms.CharField(widget=PolicyEditor, strip=False, label="Document")

    class Meta:
        model = Policy
        fields = ["name"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial["document"] = self.instance.latest.source if self.instance.name else STARTER
        # Whoever may only look has no fields at all.
        if self.instance.name and "name" in self.fields:
            self.fields["name"].disabled = True

    def clean_document(self) -> str:
        # Browsers send lines with two characters at the end; places count one.
        text = str(self.cleaned_data["document"]).replace("\r\n", "\n")
        try:
            check_policy(text, slugs=services.slugs_of(principal_of(self.request).workspace_id))
        except PolicyRefused as exc:
            widget = self.fields["document"].widget
            assert isinstance(widget, PolicyEditor)
            widget.problems = exc.details if isinstance(exc.details, list) else []
            count = len(widget.problems)
            raise ValidationError(
                f"{'One thing is' if count == 1 else f'{count} things are'} wrong with this document."
            ) from exc
        return text


@admin.register(Policy)
class PolicyAdmin(WorkspaceAdmin):
    view_scope = Scope.APPROVE
    add_scope = change_scope = Scope.ADMIN
    form = PolicyForm
    list_display = ["name", "state", "in_force", "latest_version", "language", "changed"]
    search_fields = ["name"]
    fields = ["name", "document"]
    actions_detail = [
        "activate_one",
        "roll_back_one",
        {"title": "More", "items": ["compare", "shadow_one", "deactivate_one"]},
    ]
    change_form_outer_after_template = "governance/policy_versions.html"

    class Media:
        css = {"all": ["atom/policy-editor.css"]}
        js = ["atom/policy-editor.js"]

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change, **kwargs)
        form.request = request
        return form

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Sequence[str]:
        return self.fields if obj is None or self.has_change_permission(request) else ["name", "shown_document"]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Sequence[str]:
        return [] if obj is None or self.has_change_permission(request) else ["name", "shown_document"]

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        versions = PolicyVersion.objects.none()
        if object_id:
            policy = self._found(request, object_id)
            versions = policy.versions.select_related("created_by", "policy").order_by("-number")[:50]
        active = queries.in_force(self.principal(request).workspace_id).active
        context = {"versions": versions, "active": active, "show_save_and_continue": False, **(extra_context or {})}
        return super().changeform_view(request, object_id, form_url, context)

    def save_model(self, request: HttpRequest, obj: Policy, form: Any, change: bool) -> None:
        text = form.cleaned_data["document"]
        if change and text == obj.latest.source:
            return
        version = services.save_policy(principal=self.principal(request), name=form.cleaned_data["name"], document=text)
        obj.__dict__.update(version.policy.__dict__)

    def response_add(self, request: HttpRequest, obj: Policy, post_url_continue: str | None = None) -> HttpResponse:
        return self._to_trial(request, obj)

    def response_change(self, request: HttpRequest, obj: Policy) -> HttpResponse:
        return self._to_trial(request, obj)

    def _to_trial(self, request: HttpRequest, policy: Policy) -> HttpResponse:
        messages.success(request, f"{policy.latest} is saved. It is not in force yet.")
        return HttpResponseRedirect(reverse("admin:governance_policy_activate_one", args=[policy.pk]))

    def _found(self, request: HttpRequest, object_id: object) -> Policy:
        found = self.get_object(request, str(object_id))
        if found is None:
            raise Http404
        assert isinstance(found, Policy)
        return found

    def _version(self, request: HttpRequest, policy: Policy, name: str) -> PolicyVersion | None:
        number = request.GET.get(name, "")
        return (
            policy.versions.select_related("policy").filter(number=int(number)).first() if number.isdecimal() else None
        )

    # --- Activation -------------------------------------------------------------------------------------
    @button("Try and activate", permissions=["change"], variant=ActionVariant.PRIMARY, url_path="activate")
    def activate_one(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """What the version would have changed, and below it the button that puts it into force."""
        policy = self._found(request, object_id)
        version = self._version(request, policy, "version") or policy.latest
        replay = queries.latest_replay(policy, version)
        if request.method == "POST":
            is_tried = replay is not None and replay.status == ReplayStatus.DONE
            return self._try_or_activate(request, version, is_tried=is_tried)
        in_force = queries.in_force(policy.workspace_id)
        context = {
            "title": f"Try {version}",
            "policy": policy,
            "version": version,
            "active": in_force.active,
            "replay": replay,
            "is_running": replay is not None and replay.is_open and replay.current_status != ReplayStatus.STALLED,
            "lines": _difference(in_force.active.source if in_force.active else "", version.source),
        }
        return self._page(request, "governance/policy_activate.html", context)

    def _try_or_activate(self, request: HttpRequest, version: PolicyVersion, *, is_tried: bool) -> HttpResponse:
        principal = self.principal(request)
        here = f"{reverse('admin:governance_policy_activate_one', args=[version.policy_id])}?version={version.number}"
        try:
            if "activate" not in request.POST:
                services.start_replay(policy=version.policy, principal=principal, number=version.number)
                return HttpResponseRedirect(here)
            if not is_tried:
                messages.error(request, "Look at what it would have changed first.")
                return HttpResponseRedirect(here)
            services.activate(policy=version.policy, principal=principal, number=version.number)
        except AtomError as exc:
            messages.error(request, exc.message)
            return HttpResponseRedirect(here)
        messages.success(request, f"{version} is in force.")
        return HttpResponseRedirect(reverse("admin:governance_policy_changelist"))

    @button("Compare versions", permissions=["view"], url_path="compare")
    def compare(self, request: HttpRequest, object_id: str) -> HttpResponse:
        policy = self._found(request, object_id)
        new = self._version(request, policy, "to") or policy.latest
        old = self._version(request, policy, "from") or policy.versions.filter(number=max(new.number - 1, 1)).get()
        context = {
            "title": f"{old} and {new}" if old != new else f"{new} is the only version",
            "policy": policy,
            "old": old,
            "new": new,
            "numbers": list(policy.versions.order_by("-number").values_list("number", flat=True)),
            "lines": _difference(old.source, new.source),
        }
        return self._page(request, "governance/policy_compare.html", context)

    def _page(self, request: HttpRequest, template: str, context: dict[str, Any]) -> HttpResponse:
        common = {**self.admin_site.each_context(request), "opts": self.opts, "media": self.media}
        return TemplateResponse(request, template, {**common, **context})

    # --- One click --------------------------------------------------------------------------------------
    @button("Roll back", permissions=["change"], url_path="roll-back")
    def roll_back_one(self, request: HttpRequest, object_id: str) -> HttpResponse:
        text = "The version that was in force before this one is in force again, everywhere within a second."
        return self._asked(request, object_id, "Roll back?", text, "Roll back")

    @button("Judge in the shadow", permissions=["change"], url_path="shadow")
    def shadow_one(self, request: HttpRequest, object_id: str) -> HttpResponse:
        text = "The latest version judges every action beside the policy in force; it is recorded and changes nothing."
        return self._asked(request, object_id, "Judge in the shadow?", text, "Judge in the shadow")

    @button("Take out of force", permissions=["change"], variant=ActionVariant.DANGER, url_path="deactivate")
    def deactivate_one(self, request: HttpRequest, object_id: str) -> HttpResponse:
        text = "From then on the matrix alone decides. If it only judges in the shadow, it stops doing so."
        return self._asked(request, object_id, "Take this policy out of force?", text, "Take out of force")

    def _asked(self, request: HttpRequest, object_id: str, title: str, text: str, submit: str) -> HttpResponse:
        """Asks first: a visit to the address alone changes nothing."""
        policy = self._found(request, object_id)
        if request.method != "POST":
            return self.confirm(request, title, text, submit, is_final=submit == "Take out of force")
        try:
            messages.success(request, self._done(request, policy, submit))
        except AtomError as exc:
            messages.error(request, exc.message)
        return HttpResponseRedirect(reverse("admin:governance_policy_changelist"))

    def _done(self, request: HttpRequest, policy: Policy, what: str) -> str:
        principal = self.principal(request)
        match what:
            case "Roll back":
                return f"{services.roll_back(policy=policy, principal=principal)} is in force."
            case "Judge in the shadow":
                return f"{services.shadow(policy=policy, principal=principal, on=True)} judges in the shadow."
        shadow = queries.in_force(policy.workspace_id).shadow
        if shadow is not None and shadow.policy_id == policy.pk:
            services.shadow(policy=policy, principal=principal, on=False)
            return f"{policy.name} judges no more in the shadow."
        services.deactivate(policy=policy, principal=principal)
        return f"{policy.name} is out of force."

    # --- Columns ----------------------------------------------------------------------------------------
    @column("State", label=STATES)
    def state(self, policy: Policy) -> str:
        return queries.status_of(policy)

    @column("In force")
    def in_force(self, policy: Policy) -> str:
        active = queries.in_force(policy.workspace_id).active
        return f"version {active.number}" if active and active.policy_id == policy.pk else ""

    @column("Latest")
    def latest_version(self, policy: Policy) -> str:
        return f"version {policy.latest.number}"

    @column("Language")
    def language(self, policy: Policy) -> str:
        return policy.latest.language.title()

    @column("Changed")
    def changed(self, policy: Policy) -> str:
        return moment_html(policy.latest.created_at)

    @column("Document")
    def shown_document(self, policy: Policy) -> str:
        return format_html('<pre class="policy-source">{}</pre>', policy.latest.source)


def _difference(old: str, new: str) -> list[tuple[str, str, str, str]]:
    """The lines of both: (kind, number before, number now, text); kind is same, gone, come, or gap."""
    found: list[tuple[str, str, str, str]] = []
    one, two = old.splitlines(), new.splitlines()
    groups = difflib.SequenceMatcher(None, one, two, autojunk=False).get_grouped_opcodes(4)
    for place, group in enumerate(groups):
        if place:
            found.append(("gap", "", "", "⋯"))
        for tag, a, b, c, d in group:
            if tag == "equal":
                found += [("same", str(a + n + 1), str(c + n + 1), one[a + n]) for n in range(b - a)]
            else:
                found += [("gone", str(n + 1), "", one[n]) for n in range(a, b)]
                found += [("come", "", str(n + 1), two[n]) for n in range(c, d)]
    return found
