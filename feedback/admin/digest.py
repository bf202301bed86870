"""The e-mail digest in the admin: one page, how often and to whom."""

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget

from atom.ground.admin import WorkspaceAdmin
from atom.ground.errors import AtomError
from atom.ground.models import Scope
from feedback import digest
from feedback.models import Digest, Frequency

FREQUENCIES = {
    Frequency.OFF: "Never",
    Frequency.DAILY: "Every day, about the day before",
    Frequency.WEEKLY: "Every week, about the seven days before",
}


class DigestForm(forms.Form):
    frequency = forms.ChoiceField(choices=FREQUENCIES.items(), widget=UnfoldAdminSelectWidget, label="How often")
    recipients = forms.CharField(
        required=False,
        max_length=10_000,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 4}),
        label="To whom",
        help_text=f"One e-mail address a line, at most {digest.MOST_RECIPIENTS}.",
    )

    def clean_recipients(self) -> list[str]:
        recipients: str = self.cleaned_data["recipients"]
        return recipients.split()


@admin.register(Digest)
class DigestAdmin(WorkspaceAdmin):
    """A workspace has one digest, so the list is its form."""

    view_scope = Scope.ADMIN

    def get_urls(self) -> list[URLPattern]:
        return [path("", self.admin_site.admin_view(self.changelist_view), name="feedback_digest_changelist")]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        principal = self.principal(request)
        kept = digest.digest_of(principal)
        shown = {"frequency": kept.frequency, "recipients": "\n".join(kept.recipients)}
        form = DigestForm(request.POST or None, initial=shown)
        if request.method == "POST" and form.is_valid():
            try:
                digest.set_digest(principal=principal, **form.cleaned_data)
                messages.success(request, "Saved.")
                return HttpResponseRedirect(request.path)
            except AtomError as exc:
                form.add_error("recipients" if exc.param == "recipients" else None, exc.message)
        context = {
            **self.admin_site.each_context(request),
            "title": "E-mail digest",
            "form": form,
            "sent_for": kept.sent_for if kept.frequency != Frequency.OFF else None,
            "has_mail": bool(settings.ATOM_EMAIL_FROM),
            "media": self.media + form.media,
        }
        return TemplateResponse(request, "feedback/digest_form.html", context)
