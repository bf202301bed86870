"""`/f/<token>/`: where somebody without an account judges one answer. A plain form; programs may send JSON."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods
from rest_framework import serializers
from rest_framework.request import Request

from atom.ground.api.errors import as_atom_error, error_headers, error_response
from atom.ground.api.parsing import parse_object
from atom.ground.errors import AtomError
from feedback.models import Feedback, FeedbackLink, Thumb
from feedback.services import giving, links

# What a stranger writes is read by a person: less than a member's.
MAX_TEXT_CHARS = 10_000
STARS = range(1, 6)


class PageWords(serializers.Serializer[Any]):
    """An untouched field of the form is an empty text."""

    thumb = serializers.ChoiceField(choices=Thumb.choices, required=False, allow_blank=True)
    rating = serializers.ChoiceField(choices=list(STARS), required=False, allow_null=True, allow_blank=True)
    correction = serializers.CharField(required=False, allow_blank=True, max_length=MAX_TEXT_CHARS)
    comment = serializers.CharField(required=False, allow_blank=True, max_length=MAX_TEXT_CHARS)

    def validate_rating(self, rating: int | str | None) -> int | None:
        return int(rating) if rating else None


def address_of(link: FeedbackLink, request: HttpRequest | Request) -> str:
    """The whole address to give to the end user."""
    path = reverse("feedback-page", args=[links.token_of(link)])
    public = settings.ATOM_PUBLIC_URL.rstrip("/")
    return public + path if public else request.build_absolute_uri(path)


# The address itself is the right to speak: there is no cookie that another site could make use of.
@csrf_exempt
@require_http_methods(["GET", "POST"])
def feedback_page(request: HttpRequest, token: str) -> HttpResponse:
    """404 for an address that is not ours, 410 for one that has expired or was taken back."""
    is_program = request.content_type == "application/json"
    context: dict[str, Any] = {"stars": STARS}
    try:
        link = links.link_of(token)
        context |= _shown(link)
        if request.method == "POST":
            said = PageWords(data=parse_object(request.body) if is_program else request.POST.dict())
            said.is_valid(raise_exception=True)
            given = giving.give_by_link(link=link, **said.validated_data)
            context |= {"given": given, "is_done": True}
        answer = _page(request, context, 200)
    except (AtomError, serializers.ValidationError) as exc:
        error = as_atom_error(exc)
        if is_program:
            return error_response(error)
        answer = _page(request, {**context, "error": error, "sent": request.POST}, error.status)
        for name, value in error_headers(error).items():
            answer[name] = value
    return answer


def _shown(link: FeedbackLink) -> dict[str, Any]:
    run = link.message.run
    given = Feedback.objects.filter(link=link, withdrawn_at=None).first()
    return {"answer": link.message.text, "agent": run.agent.name if run else "Agent", "given": given}


def _page(request: HttpRequest, context: dict[str, Any], status: int) -> HttpResponse:
    answer = render(request, "feedback/page.html", context, status=status)
    # The address is a secret of two people: no cache, no search engine and no other site learns of it.
    answer["Cache-Control"] = "no-store"
    answer["Referrer-Policy"] = "no-referrer"
    answer["X-Robots-Tag"] = "noindex"
    return answer
