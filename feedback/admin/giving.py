"""Feedback given in the admin, by whoever is signed in; and links for people without an account."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from agents.models import Message
from atom.ground.admin import WorkspaceAdmin
from atom.ground.errors import AtomError
from atom.ground.models import Scope
from atom.ground.principal import Principal
from feedback import queries
from feedback.admin.suggestions import SuggestingInput
from feedback.api.serializers import MAX_TAG_CHARS, MAX_TEXT_CHARS
from feedback.models import Feedback, Thumb
from feedback.page import address_of
from feedback.services import giving, links

ANSWER = "answer"
THUMBS = [("", "-"), (Thumb.UP, "Good"), (Thumb.DOWN, "Not good")]
RATINGS = [("", "-"), *((stars, "★" * stars + "☆" * (5 - stars)) for stars in range(1, 6))]
WORDS = ("thumb", "rating", "correction", "comment", "category")


class AnswerForm(forms.Form):
    """What is about one answer. What a service refuses is told beside the field that it is about."""

    answer = forms.UUIDField(
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off", "spellcheck": "false"}),
        error_messages={"invalid": "This is not an id."},
        help_text="The id of a message, or of its run.",
    )

    def refuse(self, exc: AtomError) -> None:
        names = {"message": ANSWER, "message_id": ANSWER, "run_id": ANSWER}
        name = names.get(exc.param or "", exc.param)
        self.add_error(name if name in self.fields else None, exc.message)


class SayForm(AnswerForm):
    thumb = forms.ChoiceField(choices=THUMBS, required=False, widget=UnfoldAdminSelectWidget)
    rating = forms.TypedChoiceField(
        choices=RATINGS, coerce=int, empty_value=None, required=False, widget=UnfoldAdminSelectWidget
    )
    correction = forms.CharField(
        required=False,
        max_length=MAX_TEXT_CHARS,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 5}),
        help_text="The better answer, as it should have been. It counts once a reviewer has accepted it.",
    )
    comment = forms.CharField(
        required=False, max_length=MAX_TEXT_CHARS, widget=UnfoldAdminTextareaWidget(attrs={"rows": 3})
    )
    category = forms.CharField(required=False, max_length=60)
    tags = forms.CharField(
        required=False, max_length=1000, widget=UnfoldAdminTextInputWidget, help_text="By commas, up to ten."
    )

    def __init__(self, principal: Principal, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["category"].widget = SuggestingInput(queries.categories_of(principal))

    def clean_tags(self) -> list[str]:
        tags = [tag.strip() for tag in self.cleaned_data["tags"].split(",")]
        if any(len(tag) > MAX_TAG_CHARS for tag in tags):
            raise forms.ValidationError(f"A tag has at most {MAX_TAG_CHARS} characters.")
        return tags


class LinkForm(AnswerForm):
    days = forms.IntegerField(
        min_value=1,
        max_value=links.MOST_DAYS,
        initial=links.DEFAULT_DAYS,
        widget=UnfoldAdminIntegerFieldWidget,
        label="Works for so many days",
    )


class GivingAdmin(WorkspaceAdmin):
    """The *add* page: one's own word on an answer, named by `?answer=`, or a link for somebody else's."""

    add_scope: str | None = Scope.FEEDBACK

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if not self.has_add_permission(request):
            raise PermissionDenied
        principal = self.principal(request)
        named = request.POST.get(ANSWER) or request.POST.get(f"link-{ANSWER}") or request.GET.get(ANSWER, "")
        answer = _found(principal, named)
        is_link = "make_link" in request.POST
        said, asked = (None, request.POST) if is_link else (request.POST or None, None)
        initial = {ANSWER: named}
        say = SayForm(principal, said, initial=initial | _said_before(principal, answer))
        link = LinkForm(asked, prefix="link", initial=initial)
        if said and say.is_valid() and (given := _give(principal, say)):
            messages.success(request, "Your feedback is kept.")
            return HttpResponseRedirect(reverse("admin:feedback_feedback_change", args=[given.pk]))
        if asked and link.is_valid() and (page := self._make_link(request, link)):
            return page
        context = {
            **self.admin_site.each_context(request),
            "title": "Give feedback",
            "opts": self.opts,
            "answer": answer,
            "say": say,
            "link": link,
            "media": self.media + say.media,
        }
        return TemplateResponse(request, "feedback/give_form.html", context)

    def _make_link(self, request: HttpRequest, form: LinkForm) -> HttpResponse | None:
        """The page that shows the new address, once; None when the form now says why there is none."""
        principal, asked = self.principal(request), form.cleaned_data
        lasts_s = int(timedelta(days=asked["days"]).total_seconds())
        try:
            message = queries.get_answer(principal, asked[ANSWER])
            made = links.make_link(principal=principal, message=message, expires_in_s=lasts_s)
        except AtomError as exc:
            form.refuse(exc)
            return None
        text = (
            f"Whoever has this address may judge the answer, without an account, until {made.expires_at:%Y-%m-%d %H:%M}"
            " UTC. Copy it now: it is not shown again."
        )
        return self.show_once(request, "A feedback link", text, address_of(made, request))


def _found(principal: Principal, named: str) -> Message | None:
    """The answer to show above the form; what is wrong with its id is told when the form is sent."""
    try:
        return queries.get_answer(principal, UUID(named))
    except (ValueError, AtomError):
        return None


def _said_before(principal: Principal, answer: Message | None) -> dict[str, Any]:
    """What this person says now: sending the form replaces all of it."""
    if answer is None:
        return {}
    given = queries.feedback_of(principal, queries.Filter(message=answer.pk, mine=True)).first()
    if given is None:
        return {}
    return {name: getattr(given, name) for name in WORDS} | {"tags": ", ".join(given.tags)}


def _give(principal: Principal, form: SayForm) -> Feedback | None:
    """None when the form now says why not."""
    said = dict(form.cleaned_data)
    try:
        message = queries.get_answer(principal, said.pop(ANSWER))
        return giving.give_feedback(principal=principal, message_id=message.pk, **said)
    except AtomError as exc:
        form.refuse(exc)
        return None
