"""The log of what webhooks were sent, and the button that sends it once more."""

from uuid import UUID

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from atom.ground.admin import WorkspaceAdmin, button, column
from atom.ground.display import NOTHING, moment_html
from atom.ground.errors import AtomError
from atom.ground.models import Scope
from feedback.models import DeliveryStatus, WebhookDelivery
from feedback.queries import outbox
from feedback.webhooks import services

STATUS_LABELS = {
    DeliveryStatus.WAITING: "warning",
    DeliveryStatus.DELIVERED: "success",
    DeliveryStatus.FAILED: "danger",
}


@admin.register(WebhookDelivery)
class DeliveryAdmin(WorkspaceAdmin):
    view_scope = Scope.ADMIN
    list_display = ("event", "webhook", "status_label", "attempts", "answered", "problem", "when")
    list_filter = ("webhook", "status", "event")
    fields = (
        "event",
        "webhook",
        "status_label",
        "attempts",
        "answered",
        "problem",
        "when",
        "next_attempt",
        "delivered",
        "exact_body",
    )
    readonly_fields = fields
    actions_detail = ("replay",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[WebhookDelivery]:
        return outbox.deliveries_of(self.principal(request))

    @column("Status", ordering="status", label=STATUS_LABELS)
    def status_label(self, row: WebhookDelivery) -> str:
        return row.status

    @column("When", ordering="created_at")
    def when(self, row: WebhookDelivery) -> SafeString:
        return moment_html(row.created_at)

    @column("Answered with", ordering="http_status")
    def answered(self, row: WebhookDelivery) -> str:
        return f"HTTP {row.http_status}" if row.http_status else NOTHING

    @column("Next attempt")
    def next_attempt(self, row: WebhookDelivery) -> SafeString:
        return moment_html(row.next_attempt_at if row.status == DeliveryStatus.WAITING else None)

    @column("Body")
    def exact_body(self, row: WebhookDelivery) -> SafeString:
        """As it is sent and signed."""
        return format_html('<code class="atom-text">{}</code>', row.body)

    @column("Delivered")
    def delivered(self, row: WebhookDelivery) -> SafeString:
        return moment_html(row.delivered_at)

    @button("Send again", permissions=["view"], icon="replay")
    def replay(self, request: HttpRequest, object_id: UUID) -> HttpResponse:
        """Asked first, because a link alone may change nothing."""
        if request.method != "POST":
            text = "The same body goes out once more, as a delivery of its own."
            return self.confirm(request, "Send this again?", text, "Send again")
        principal = self.principal(request)
        try:
            services.replay(principal=principal, delivery=outbox.get_delivery(principal, object_id))
            messages.success(request, "It is on its way.")
        except AtomError as exc:
            messages.error(request, exc.message)
        return HttpResponseRedirect(reverse("admin:feedback_webhookdelivery_changelist"))
