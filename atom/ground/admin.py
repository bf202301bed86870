"""People, workspaces, tokens and the audit trail in the admin. `WorkspaceAdmin` is the base of every room's pages."""

import json
import re
from collections.abc import Sequence
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.enums import ActionVariant
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminPasswordWidget,
    UnfoldAdminTextInputWidget,
)

from atom.ground import queries, services, tokens
from atom.ground.display import data_html, moment_html
from atom.ground.errors import NotFound
from atom.ground.models import ROLE_SCOPES, AccessToken, AuditEntry, Membership, Role, Scope, Workspace
from atom.ground.workspace_admin import (
    WorkspaceAdmin,
    WorkspaceRelatedFilter,
    button,
    column,
    principal_of,
    principal_or_none,
)

__all__ = ["WorkspaceAdmin", "WorkspaceRelatedFilter", "button", "column", "principal_of", "principal_or_none"]

# Ids say nothing to people; the entry's own page has them.
IDENTIFIER = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{64}")
# Where the request keeps a new token's secret until its page is written; headers' names start with HTTP_.
CREATED = "atom.created"


class NewTokenForm(forms.ModelForm):  # type: ignore[type-arg]  # not subscriptable at run time
    """A name, and what the token may be used for: no more than its owner may."""

    scopes = forms.MultipleChoiceField(
        choices=Scope,
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text="A token never has more than its person's role allows.",
    )

    class Meta:
        model = AccessToken
        fields = ["name", "scopes", "expires_at"]


class AccessTokenAdmin(WorkspaceAdmin):
    """One's own tokens (an owner: all): made here, shown once, revoked here. Registered where agents are known."""

    view_scope = add_scope = "chat"
    form = NewTokenForm
    new_fields: Sequence[str] = ("name", "scopes", "expires_at")
    list_display = ["name", "shown_prefix", "user", "shown_scopes", "state", "expires", "created"]
    list_filter = ["user", ("revoked_at", admin.EmptyFieldListFilter)]
    search_fields = ["name", "prefix", "user__username"]
    actions = ["revoke"]
    actions_detail = ["revoke_one"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[AccessToken]:
        return queries.tokens_of(self.principal(request))

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Sequence[Any]:
        if obj is None:
            return self.new_fields
        return ["name", "shown_prefix", "user", "shown_scopes", "state", "expires", "created"]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Sequence[Any]:
        return self.get_fields(request, obj) if obj is not None else []

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change, **kwargs)
        if "scopes" in form.base_fields:
            allowed = ROLE_SCOPES[self.principal(request).role]
            choices = [choice for choice in Scope.choices if choice[0] in allowed]
            form.base_fields["scopes"].choices = choices
            form.base_fields["scopes"].initial = [value for value, _ in choices]
        return form

    def save_model(self, request: HttpRequest, obj: AccessToken, form: Any, change: bool) -> None:
        token, secret = self.make(request, form)
        obj.__dict__.update(token.__dict__)
        request.META[CREATED] = secret

    def make(self, request: HttpRequest, form: Any) -> tuple[AccessToken, str]:
        """The new token, and its secret."""
        principal = self.principal(request)
        return tokens.create_token(
            membership=queries.member_for_token(principal, None), by=principal.username, **form.cleaned_data
        )

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        return super().render_change_form(request, {**context, "show_save_and_continue": False}, *args, **kwargs)

    def response_add(self, request: HttpRequest, obj: Any, post_url_continue: str | None = None) -> HttpResponse:
        """The secret, on this page and never again: it travels through no cookie and no redirect."""
        text = f"Copy the token {obj.name} now: only a fingerprint of it is kept, so it is never shown again."
        return self.show_once(request, "Your new token", text, request.META[CREATED])

    @button("Revoke selected tokens", permissions=["view"])
    def revoke(self, request: HttpRequest, chosen: QuerySet[AccessToken]) -> None:
        revoked = sum(self._revoke(request, token) for token in chosen)
        messages.success(request, f"{revoked} {'token' if revoked == 1 else 'tokens'} revoked.")

    @button("Revoke", permissions=["view"], variant=ActionVariant.DANGER, url_path="revoke")
    def revoke_one(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Asks first: a visit to the address alone changes nothing."""
        token = self.get_object(request, object_id)
        if token is None:
            raise Http404
        if request.method == "POST":
            if self._revoke(request, token):
                messages.success(request, f"{token.name} is revoked.")
            return HttpResponseRedirect(reverse("admin:ground_accesstoken_changelist"))
        text = f"{token} stops working everywhere within a second, for good."
        return self.confirm(request, "Revoke this token?", text, "Revoke", is_final=True)

    def _revoke(self, request: HttpRequest, token: AccessToken) -> bool:
        try:
            tokens.revoke_token(token=token, by=self.principal(request).username)
        except NotFound:
            return False
        return True

    @column("Starts with")
    def shown_prefix(self, token: AccessToken) -> SafeString:
        return format_html("<code>{}…</code>", token.prefix)

    @column("Scopes")
    def shown_scopes(self, token: AccessToken) -> str:
        return ", ".join(token.scopes)

    @column("State", label={"usable": "success", "expired": "warning", "revoked": "danger"})
    def state(self, token: AccessToken) -> str:
        if token.is_revoked:
            return "revoked"
        return "usable" if token.is_usable else "expired"

    @column("Expires", ordering="expires_at")
    def expires(self, token: AccessToken) -> str:
        return moment_html(token.expires_at) if token.expires_at else "never"

    @column("Created", ordering="created_at")
    def created(self, token: AccessToken) -> SafeString:
        return moment_html(token.created_at)


class NewMemberForm(forms.ModelForm):  # type: ignore[type-arg]  # not subscriptable at run time
    username = forms.CharField(max_length=150, widget=UnfoldAdminTextInputWidget)
    password = forms.CharField(
        max_length=200, strip=False, widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password"})
    )

    class Meta:
        model = Membership
        fields = ["role"]


@admin.register(Membership)
class MembershipAdmin(WorkspaceAdmin):
    """Who belongs to the workspace, and as what. New people are added with a first password."""

    add_scope = "admin"
    form = NewMemberForm
    list_display = ["person", "shown_role", "since"]
    list_filter = ["role"]
    search_fields = ["user__username", "user__email"]
    list_select_related = ["user"]

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Sequence[Any]:
        return ["username", "password", "role"] if obj is None else ["user", "role", "since"]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Sequence[Any]:
        return [] if obj is None else ["user", "role", "since"]

    def save_model(self, request: HttpRequest, obj: Membership, form: Any, change: bool) -> None:
        principal = self.principal(request)
        workspace = queries.workspace_of(principal)
        member = services.add_member(workspace=workspace, by=principal.username, **form.cleaned_data)
        obj.__dict__.update(member.__dict__)

    @column("Person", ordering="user__username")
    def person(self, member: Membership) -> str:
        return member.user.get_full_name() or member.user.username

    @column(
        "Role",
        ordering="role",
        label={Role.OWNER: "primary", Role.APPROVER: "info", Role.OPERATOR: "warning", Role.MEMBER: ""},
    )
    def shown_role(self, member: Membership) -> tuple[str, str]:
        return member.role, member.get_role_display()

    @column("Since", ordering="created_at")
    def since(self, member: Membership) -> SafeString:
        return moment_html(member.created_at)


@admin.register(Workspace)
class OwnWorkspaceAdmin(WorkspaceAdmin):
    workspace_path = "id"
    list_display = ["name", "since"]
    fields = readonly_fields = ["name", "since"]

    @column("Since", ordering="created_at")
    def since(self, workspace: Workspace) -> SafeString:
        return moment_html(workspace.created_at)


@admin.register(AuditEntry)
class AuditEntryAdmin(WorkspaceAdmin):
    """The trail: searched and read, never written."""

    list_display = ["seq", "when", "shown_event", "actor", "summary"]
    list_display_links = ["seq", "shown_event"]
    list_filter = ["event"]
    search_fields = ["event", "actor", "entry"]
    ordering = ["-seq"]
    fields = readonly_fields = ["seq", "exactly", "event", "actor", "details", "previous_hash", "hash"]

    @column("When", ordering="seq")
    def when(self, entry: AuditEntry) -> SafeString:
        return moment_html(entry.at)

    @column("When")
    def exactly(self, entry: AuditEntry) -> str:
        return f"{entry.at:%Y-%m-%d %H:%M:%S} UTC"

    @column("Event", ordering="event", label=True)
    def shown_event(self, entry: AuditEntry) -> str:
        return entry.event

    @column("Summary")
    def summary(self, entry: AuditEntry) -> SafeString:
        details = json.loads(entry.entry)["details"]
        plain = (
            (name.replace("_", " "), value)
            for name, value in details.items()
            if isinstance(value, int) or (isinstance(value, str) and not IDENTIFIER.fullmatch(value))
        )
        return format_html(
            '<span class="atom-summary">{}</span>', ", ".join(f"{name} {value}" for name, value in plain)
        )

    @column("Details")
    def details(self, entry: AuditEntry) -> SafeString:
        return data_html(json.loads(entry.entry)["details"])
