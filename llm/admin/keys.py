"""Provider keys in the admin: the secret is entered, never shown."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.widgets import UnfoldAdminPasswordWidget, UnfoldAdminSelectWidget

from atom.ground.display import moment_html
from atom.ground.workspace_admin import WorkspaceAdmin, button, column
from llm import queries, services
from llm.breaker import Status
from llm.models import PROVIDER_CHOICES, ProviderKey


class ProviderKeyForm(forms.ModelForm):  # type: ignore[type-arg]  # not subscriptable at run time
    """A key with a field for its secret, which the form never fills in."""

    provider = forms.ChoiceField(choices=PROVIDER_CHOICES, widget=UnfoldAdminSelectWidget)
    secret = forms.CharField(
        required=False,
        strip=True,
        max_length=services.MAX_SECRET_CHARS,
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password"}),
        help_text="Kept sealed and never shown again. Leave it empty to keep the present one.",
    )

    class Meta:
        model = ProviderKey
        fields = ["provider", "name", "base_url", "priority", "is_enabled"]


@admin.register(ProviderKey)
class ProviderKeyAdmin(WorkspaceAdmin):
    """The workspace's keys. A key that no longer opens is red, and says what to do."""

    view_scope = add_scope = change_scope = delete_scope = "admin"
    form = ProviderKeyForm
    list_display = ["name", "provider", "masked", "health", "breaker", "priority", "is_enabled", "last_ok"]
    list_filter = ["provider", "is_enabled"]
    search_fields = ["name", "provider"]
    # Deleting goes through the service, one key at a time: each leaves its audit entry.
    actions = None
    actions_detail = ["try_key", "reset_breakers"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[ProviderKey]:
        return queries.keys_of(self.principal(request))

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Sequence[Any]:
        entered = ["provider", "name", "secret", "base_url", "priority", "is_enabled"]
        return entered if obj is None else [*entered, "masked", "health", "breaker", "last_ok"]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Sequence[Any]:
        # The secret is bound to its provider.
        return [] if obj is None else ["provider", "masked", "health", "breaker", "last_ok"]

    @column("Secret")
    def masked(self, key: ProviderKey) -> str:
        return f"••••{key.hint}"

    @column("Health")
    def health(self, key: ProviderKey) -> SafeString:
        if not key.is_decryptable:
            trouble = "This key no longer opens. Enter its secret again."
        elif key.last_error:
            trouble = key.last_error
        else:
            return format_html("{}", "good" if key.last_ok_at else "not used yet")
        return format_html('<strong class="text-red-600 dark:text-red-400" style="color:#dc2626">{}</strong>', trouble)

    @column("Last worked", ordering="last_ok_at")
    def last_ok(self, key: ProviderKey) -> SafeString:
        return moment_html(key.last_ok_at)

    # --- Test ---------------------------------------------------------------------------------------------
    def has_try_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        key = self.get_object(request, str(object_id)) if object_id else None
        return self.has_change_permission(request) and key is not None

    @button("Test key", permissions=["try"], icon="network_check", url_path="test")
    def try_key(self, request: HttpRequest, object_id: str) -> HttpResponse:
        principal = self.principal(request)
        key = queries.get_key(principal, UUID(object_id))
        if request.method != "POST":
            text = f"One short question goes to {key.provider} with this key, to its cheapest model."
            return self.confirm(request, f"Test {key.name}?", text, "Test")
        found = services.try_key(key=key, by=principal.username)
        if found.is_ok:
            messages.success(request, f"{key.name} works: {found.model} answered in {found.latency_ms} ms.")
        else:
            messages.error(request, found.error)
        return HttpResponseRedirect(reverse("admin:llm_providerkey_change", args=[key.pk]))

    # --- Breakers ----------------------------------------------------------------------------------------
    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """With the breakers of all keys of the page, asked once."""
        page = super().get_changelist_instance(request)
        found = queries.breakers_of(self.principal(request))
        for key in page.result_list:
            key.breakers = [one for one in found if one.circuit.key_id == key.pk]
        return page

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> ProviderKey | None:
        key: ProviderKey | None = super().get_object(request, object_id, from_field)
        if key is not None:
            key.breakers = self._tripped(request, key)  # type: ignore[attr-defined]  # for this page only
        return key

    def _tripped(self, request: HttpRequest, key: ProviderKey) -> list[Status]:
        return [one for one in queries.breakers_of(self.principal(request)) if one.circuit.key_id == key.pk]

    @column("Breaker")
    def breaker(self, key: ProviderKey) -> SafeString:
        """Per model, where it is not simply closed."""
        shown = [one for one in getattr(key, "breakers", ()) if one.state != "closed"]
        lines = ((one.circuit.model, one.state.replace("_", " ")) for one in shown)
        return format_html_join(SafeString("<br>"), "{}: {}", lines) or format_html("{}", "closed")

    def has_reset_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        key = self.get_object(request, str(object_id)) if object_id else None
        return self.has_change_permission(request) and key is not None and bool(getattr(key, "breakers", ()))

    @button("Reset breaker", permissions=["reset"], icon="restart_alt", url_path="reset-breaker")
    def reset_breakers(self, request: HttpRequest, object_id: str) -> HttpResponse:
        principal = self.principal(request)
        key = queries.get_key(principal, UUID(object_id))
        if request.method != "POST":
            text = "Its models are called again at once. Five failures in a row would open it anew."
            return self.confirm(request, f"Reset the breaker of {key.name}?", text, "Reset")
        circuits = [one.circuit for one in self._tripped(request, key)]
        services.reset_breakers(workspace_id=principal.workspace_id, circuits=circuits, by=principal.username)
        messages.success(request, f"{key.name} is called again.")
        return HttpResponseRedirect(reverse("admin:llm_providerkey_change", args=[key.pk]))

    def save_model(self, request: HttpRequest, obj: ProviderKey, form: Any, change: bool) -> None:
        principal = self.principal(request)
        given = {name: form.cleaned_data[name] for name in ("name", "base_url", "priority", "is_enabled")}
        secret = form.cleaned_data["secret"]
        if change:
            kept = queries.get_key(principal, obj.pk)
            saved = services.update_key(key=kept, by=principal.username, secret=secret or None, **given)
        else:
            saved = services.create_key(
                workspace_id=principal.workspace_id,
                provider=form.cleaned_data["provider"],
                secret=secret,
                by=principal.username,
                **given,
            )
        obj.__dict__.update(saved.__dict__)

    def delete_model(self, request: HttpRequest, obj: ProviderKey) -> None:
        services.delete_key(key=obj, by=self.principal(request).username)
