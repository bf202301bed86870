"""The pages about money: what was used, and whom a run tried."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from agents.models import Agent
from atom.ground.principal import Principal
from tests.agents.test_usage import used

Browser = Callable[[Principal], Client]
MakeAgent = Callable[..., Agent]


def page(client: Client, days: str = "") -> str:
    answer = client.get(reverse("usage"), {"days": days})
    assert answer.status_code == 200
    return " ".join(answer.content.decode().split())


def test_the_usage_page_shows_figures_and_a_table_for_each_question(
    alice: Principal, browser: Browser, make_agent: MakeAgent
) -> None:
    used(make_agent("zebra"), alice, at=timezone.now(), cost="1.25", calls=2)
    shown = page(browser(alice))
    assert "$2.50" in shown
    assert "20 in, 10 out, 4 cached" in shown
    assert "2 calls to providers" in shown
    for row in ("By day", "Zebra", "openai/gpt-4o-mini", "alice", "Signed in, without a token"):
        assert row in shown


def test_a_model_without_a_price_is_not_shown_as_free(
    alice: Principal, browser: Browser, make_agent: MakeAgent
) -> None:
    used(make_agent(), alice, at=timezone.now(), cost=None, model="custom/unheard-of")
    shown = page(browser(alice))
    assert "no price" in shown
    assert "request missing in the cost" in shown


@pytest.mark.parametrize(("days", "is_there"), [("7", False), ("30", True), ("90", True), ("x", True)])
def test_the_period_decides_what_is_counted(
    alice: Principal, browser: Browser, make_agent: MakeAgent, days: str, is_there: bool
) -> None:
    used(make_agent("zebra"), alice, at=timezone.now() - timedelta(days=8))
    assert ("Zebra" in page(browser(alice), days)) is is_there


def test_a_member_sees_their_own_usage_on_the_page(
    alice: Principal, carol: Principal, browser: Browser, make_agent: MakeAgent
) -> None:
    agent = make_agent()
    used(agent, alice, at=timezone.now(), cost="7")
    used(agent, carol, at=timezone.now(), cost="2")
    shown = page(browser(carol))
    assert "Your own calls" in shown
    assert "$2.00" in shown
    assert "$9.00" not in shown


def test_mallory_sees_none_of_alices_usage(
    alice: Principal, mallory: Principal, browser: Browser, make_agent: MakeAgent
) -> None:
    used(make_agent("zebra"), alice, at=timezone.now())
    shown = page(browser(mallory))
    assert "Zebra" not in shown
    assert "Nobody has called a provider" in shown


def test_the_usage_page_needs_a_sign_in(db: None) -> None:
    assert Client().get(reverse("usage")).status_code == 302


def test_a_runs_page_tells_whom_it_tried_and_why_it_failed(
    alice: Principal, browser: Browser, make_agent: MakeAgent
) -> None:
    told = "openai said that its limit is reached."
    run = used(make_agent(), alice, outcome="rate_limited", message=told, has_usage=False, cost="0")
    shown = browser(alice).get(reverse("admin:agents_run_change", args=[run.pk])).content.decode()
    for words in ("Whom it tried", "Rate limited", told, "not told"):
        assert words in shown
