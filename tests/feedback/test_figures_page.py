"""The admin's page of what people say: the right figures, and from each the way down to the rows behind it."""

import html
import json
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from agents.models import Message, Run
from atom.ground.models import User
from atom.ground.principal import Principal
from feedback import queries
from feedback.figures.charts import by_day
from feedback.models import Feedback
from feedback.queries import Wanted
from feedback.rollups import recount
from feedback.services import giving

MakeAnswer = Callable[..., Message]
PAGE = "/admin/feedback-figures/"


def signed_in(principal: Principal) -> Client:
    client = Client()
    client.force_login(User.objects.get(pk=principal.user_id))
    return client


def say(principal: Principal, answer: Message, *, model: str = "gpt-4o", days_ago: int = 0, **words: Any) -> Feedback:
    """Something said so many days ago about an answer that cost a cent."""
    Run.objects.filter(messages=answer).update(provider="openai", model=model, cost_usd="0.01")
    given = giving.give_feedback(principal=principal, message_id=answer.id, **words)
    Feedback.objects.filter(pk=given.pk).update(created_at=timezone.now() - timedelta(days=days_ago))
    recount(repair=True)
    return given


@pytest.fixture
def said(alice: Principal, carol: Principal, make_answer: MakeAnswer) -> None:
    """Today two good and one bad word about `helper`, one of them with a better answer; long ago a good one."""
    say(alice, make_answer(), thumb="up", category="tone")
    say(carol, make_answer(), rating=5, category="tone")
    say(alice, make_answer(), model="gpt-4o-mini", rating=1, correction="Better.", category="facts")
    say(alice, make_answer("writer"), days_ago=60, thumb="up")


def shown(client: Client, **query: Any) -> str:
    answer = client.get(PAGE, query)
    assert answer.status_code == 200
    return " ".join(html.unescape(answer.text).split())


@pytest.mark.usefixtures("said")
def test_the_figures_of_the_period_are_shown_with_how_sure_they_are(alice: Principal) -> None:
    page = shown(signed_in(alice))
    for words in (
        "67%",
        "surely 21% to 94%",
        "3.00",
        "from 2 ratings",
        "33%",
        "1 better answers, 0 accepted",
        "$0.0150",
    ):
        assert words in page, words
    for row in ("By agent", "By model", "By provider", "By version of the prompt", "By category", "gpt-4o-mini"):
        assert row in page, row
    assert "writer</a>" not in page
    assert "writer</a>" in shown(signed_in(alice), days=90)


@pytest.mark.usefixtures("said")
def test_every_figure_leads_to_exactly_the_rows_behind_it(alice: Principal) -> None:
    client = signed_in(alice)
    listed = reverse("admin:feedback_feedback_changelist")
    found = dict(re.findall(rf'<a href="({re.escape(listed)}[^"]*)"[^>]*>([^<]+)</a>', shown(client)))
    named = {name: address for address, name in found.items()}

    def rows(address: str) -> int:
        answer = client.get(address)
        assert answer.status_code == 200
        return int(answer.context["cl"].result_count)

    counts = {name: rows(address) for name, address in named.items() if not name.isdigit()}
    assert counts == {"helper": 3, "gpt-4o": 2, "gpt-4o-mini": 1, "openai": 3, "tone": 2, "facts": 1}
    numbers = [(int(name), rows(address)) for address, name in found.items() if name.isdigit()]
    assert len(numbers) == 8
    assert [number for number, _ in numbers] == [number for _, number in numbers]
    positive = re.search(rf'<a href="({re.escape(listed)}[^"]*sentiment=positive)" class="atom-card', shown(client))
    assert positive is not None
    assert rows(positive[1]) == 2


@pytest.mark.usefixtures("said")
def test_an_agents_row_leads_to_that_agents_feedback_only(alice: Principal) -> None:
    client = signed_in(alice)
    row = re.search(r'<a href="([^"]*)">writer</a>', shown(client, days=90))
    assert row is not None
    assert client.get(row[1]).context["cl"].result_count == 1


@pytest.mark.usefixtures("said")
def test_the_page_is_narrowed_to_an_agent_and_a_model(alice: Principal) -> None:
    client = signed_in(alice)
    page = shown(client, agent="helper", model="gpt-4o-mini")
    assert "0%" in page
    assert "tone</a>" not in page
    assert client.get(PAGE, {"agent": "nobody"}).status_code == 404


@pytest.mark.usefixtures("said")
def test_the_most_corrected_come_first_when_asked(alice: Principal) -> None:
    page = shown(signed_in(alice), order="corrections")
    assert "gpt-4o-mini</a>" in page
    assert "gpt-4o</a>" not in page


@pytest.mark.usefixtures("said")
def test_the_charts_data_is_in_the_page_and_adds_up(alice: Principal) -> None:
    raw = signed_in(alice).get(PAGE).text
    days, stars = (json.loads(html.unescape(found)) for found in re.findall(r'data-value="([^"]*)"', raw))
    assert len(days["labels"]) == 30
    assert {one["label"]: sum(one["data"]) for one in days["datasets"]} == {"Positive": 2, "Neutral": 0, "Negative": 1}
    assert stars["datasets"][0]["data"] == [1, 0, 0, 0, 1]


def test_a_chart_says_in_words_what_it_draws() -> None:
    point = {"date": "2026-11-01", "total": 3, "positive": 2, "neutral": 0, "negative": 1}
    assert by_day([point]).label == "3 feedbacks in 1 days, by day and opinion"


def test_a_workspace_without_feedback_has_a_page(alice: Principal) -> None:
    assert "Nobody has said anything in this time" in shown(signed_in(alice))


@pytest.mark.usefixtures("said")
def test_what_is_written_by_people_is_not_markup(alice: Principal, make_answer: MakeAnswer) -> None:
    say(alice, make_answer(), thumb="up", category="<script>x</script>")
    assert "<script>x" not in signed_in(alice).get(PAGE).text


@pytest.mark.usefixtures("said")
def test_mallory_sees_none_of_it(mallory: Principal) -> None:
    client = signed_in(mallory)
    assert "helper" not in shown(client, days=90)
    assert client.get(PAGE, {"agent": "helper"}).status_code == 404


def test_nobody_looks_without_signing_in() -> None:
    assert Client().get(PAGE).status_code == 302


def test_a_better_period_differs_upwards_from_the_one_before(alice: Principal, make_answer: MakeAnswer) -> None:
    for days_ago, thumb in ((31, "down"), (30, "up"), (29, "up"), (0, "up")):
        say(alice, make_answer(), days_ago=days_ago, thumb=thumb)
    found = queries.compare(alice, Wanted(), days=30)
    assert (found.before.summary.total, found.now.summary.total, found.difference) == (2, 2, 0.5)
