"""Webhooks in the admin: made and turned, with a secret that is shown once, edited, switched off, deleted."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django import forms
from django.contrib import admin
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.enums import ActionVariant
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget, UnfoldAdminTextInputWidget

from atom.ground.admin import WorkspaceAdmin, button, column
from atom.ground.display import moment_html
from atom.ground.errors import BadRequest
from atom.ground.models import Scope
from feedback.models import DeliveryStatus, Webhook
from feedback.queries import outbox
from feedback.webhooks import services
from feedback.webhooks.outbox import EVENTS

STATES = {"on": "success", "off": ""}
ONCE = "Copy it now: it is kept sealed and never shown again. Every delivery is signed with it."
# Where the request keeps a new webhook's secret until its page is written; headers' names start with HTTP_.
CREATED = "atom.created"


class WebhookForm(forms.ModelForm):  # type: ignore[type-arg]  # not subscriptable at run time
    url = forms.CharField(max_length=2000, label="Address", widget=UnfoldAdminTextInputWidget)
    events = forms.MultipleChoiceField(
        choices=[(event, event) for event in EVENTS],
        required=False,
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text="None chosen: it is told of everything.",
    )

    class Meta:
        model = Webhook
        fields = ["url", "events", "is_active"]
        labels = {"is_active": "Switched on"}
        help_texts = {"is_active": "Off: nothing is sent, and what happens meanwhile is not told later."}

    def clean_url(self) -> str:
        url: str = self.cleaned_data["url"]
        if url != self.instance.url:
            try:
                services.check_address(url)
            except BadRequest as exc:
                raise forms.ValidationError(exc.message) from exc
        return url


@admin.register(Webhook)
class WebhookAdmin(WorkspaceAdmin):
    view_scope = add_scope = change_scope = delete_scope = Scope.ADMIN
    form = WebhookForm
    list_display = ("address", "hears", "state", "deliveries", "created")
    list_filter = ("is_active",)
    search_fields = ("url",)
    # Deleting goes through the service, one webhook at a time: each leaves its audit entry.
    actions = None
    actions_detail = ("rotate",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Webhook]:
        waiting = Count("deliveries", filter=Q(deliveries__status=DeliveryStatus.WAITING))
        failed = Count("deliveries", filter=Q(deliveries__status=DeliveryStatus.FAILED))
        rows = outbox.webhooks_of(self.principal(request))
        return rows.annotate(sent=Count("deliveries"), waiting=waiting, failed=failed)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Sequence[str]:
        return ("url", "events") if obj is None else ("url", "events", "is_active", "deliveries", "created")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Sequence[str]:
        return () if obj is None else ("deliveries", "created")

    @column("Address", ordering="url")
    def address(self, row: Webhook) -> str:
        return row.url

    @column("Is told of")
    def hears(self, row: Webhook) -> str:
        return ", ".join(event.removeprefix("feedback.") for event in row.events) or "everything"

    @column("State", ordering="is_active", label=STATES)
    def state(self, row: Webhook) -> str:
        return "on" if row.is_active else "off"

    @column("Deliveries")
    def deliveries(self, row: Any) -> SafeString:
        """How many there are, and whether all went well; the number leads to them."""
        trouble = [f"{count} {word}" for count, word in ((row.waiting, "waiting"), (row.failed, "failed")) if count]
        listed = f"{reverse('admin:feedback_webhookdelivery_changelist')}?{urlencode({'webhook__id__exact': row.pk})}"
        return format_html(
            '<a class="text-primary-600" href="{}">{}</a>{}',
            listed,
            row.sent,
            f" ({', '.join(trouble)})" if trouble else "",
        )

    @column("Created", ordering="created_at")
    def created(self, row: Webhook) -> SafeString:
        return moment_html(row.created_at)

    def save_model(self, request: HttpRequest, obj: Webhook, form: Any, change: bool) -> None:
        principal = self.principal(request)
        if change:
            kept = outbox.get_webhook(principal, obj.pk)
            saved = services.change_webhook(principal=principal, webhook=kept, **form.cleaned_data)
        else:
            saved, request.META[CREATED] = services.create_webhook(principal=principal, **form.cleaned_data)
        obj.__dict__.update(saved.__dict__)

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        return super().render_change_form(request, {**context, "show_save_and_continue": False}, *args, **kwargs)

    def response_add(self, request: HttpRequest, obj: Any, post_url_continue: str | None = None) -> HttpResponse:
        return self.show_once(request, "The new webhook's secret", ONCE, request.META[CREATED])

    def delete_model(self, request: HttpRequest, obj: Webhook) -> None:
        services.delete_webhook(principal=self.principal(request), webhook=obj)

    def has_rotate_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        may = self.has_change_permission(request) and bool(object_id)
        return may and self.get_queryset(request).filter(pk=object_id).exists()

    @button("New secret", permissions=["rotate"], variant=ActionVariant.DANGER, icon="key", url_path="rotate")
    def rotate(self, request: HttpRequest, object_id: UUID) -> HttpResponse:
        """Asked first, because a link alone may change nothing."""
        principal = self.principal(request)
        hook = outbox.get_webhook(principal, object_id)
        if request.method != "POST":
            text = f"From now on everything sent to {hook.url} is signed with a new secret; the present one is over."
            return self.confirm(request, "Make a new secret?", text, "Make it", is_final=True)
        secret = services.rotate_secret(principal=principal, webhook=hook)
        return self.show_once(request, "The webhook's new secret", ONCE, secret)
