"""Experiments and webhook deliveries in the admin: drafted, advised, started, stopped, promoted, read, sent again."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from agents.models import Agent, Message
from atom.ground.models import User
from atom.ground.principal import Principal
from feedback.experiments import services
from feedback.models import Experiment, WebhookDelivery
from feedback.services import giving
from feedback.webhooks.services import create_webhook
from tests.feedback.test_experiments import ARMS, say

ADD = "/admin/feedback/experiment/add/"
LOG = "/admin/feedback/webhookdelivery/"


def signed_in(principal: Principal) -> Client:
    client = Client()
    client.force_login(User.objects.get(pk=principal.user_id))
    return client


def asked(agent: Agent, **changes: Any) -> dict[str, Any]:
    arms = {"arms-TOTAL_FORMS": "4", "arms-INITIAL_FORMS": "0", "arms-0-name": "as it is", "arms-1-name": "kind"}
    arms |= {f"arms-{place}-weight": "1" for place in range(4)}
    question = {"name": "Kindness", "agent": agent.pk, "metric": "positive", "unit": "session", "min_effect": "0.1"}
    return {**question, **arms, "arms-1-system_prompt": "Be kind.", "arms-1-models": "openai/gpt-4o, ", **changes}


@pytest.fixture
def running(alice: Principal, make_agent: Callable[..., Agent]) -> Experiment:
    made = services.create_experiment(
        principal=alice, agent=make_agent(), name="Kindness", variants=ARMS, planned_per_arm=200
    )
    return services.start_experiment(experiment=made, principal=alice)


def page(experiment: Experiment, verb: str = "change") -> str:
    return reverse(f"admin:feedback_experiment_{verb}", args=[experiment.pk])


def test_a_draft_is_made_from_the_form(alice: Principal, make_agent: Callable[..., Agent]) -> None:
    answer = signed_in(alice).post(ADD, asked(make_agent()))
    made = Experiment.objects.get()
    assert (answer.status_code, answer["Location"]) == (302, page(made))
    first, second = made.variants.all()
    assert (first.system_prompt, first.models, first.temperature) == (None, None, None)
    assert (second.system_prompt, second.models) == ("Be kind.", ["openai/gpt-4o"])
    assert made.planned_per_arm == 388


def test_the_form_advises_how_many_values_it_takes_and_makes_nothing(
    alice: Principal, make_agent: Callable[..., Agent]
) -> None:
    html = signed_in(alice).post(ADD, asked(make_agent(), advise="1")).text
    assert "388 per variant" in html
    assert not Experiment.objects.exists()


def test_what_could_teach_nothing_is_said_on_the_form(alice: Principal, make_agent: Callable[..., Agent]) -> None:
    answer = signed_in(alice).post(ADD, asked(make_agent(), **{"arms-1-name": "as it is"}))
    assert answer.status_code == 200
    assert 'role="alert"' in answer.text
    assert not Experiment.objects.exists()


def test_an_experiment_is_started_stopped_and_its_winner_promoted_each_after_a_question(
    alice: Principal, make_agent: Callable[..., Agent]
) -> None:
    draft = services.create_experiment(
        principal=alice, agent=make_agent(), name="Kindness", variants=ARMS, planned_per_arm=200
    )
    client = signed_in(alice)
    for verb, before, after in (("start", "draft", "running"), ("stop", "running", "completed")):
        assert client.get(page(draft, verb)).status_code == 200
        draft.refresh_from_db()
        assert draft.status == before
        client.post(page(draft, verb), {"reason": "because"})
        draft.refresh_from_db()
        assert draft.status == after
        say(draft, 0, 30, 170)
        say(draft, 1, 180, 20)
    client.post(page(draft, "promote"))
    draft.agent.refresh_from_db()
    assert draft.agent.system_prompt == "Be kind."


def test_the_page_shows_what_may_be_concluded_and_what_not(alice: Principal, running: Experiment) -> None:
    client = signed_in(alice)
    assert "Too few values to conclude anything" in client.get(page(running)).text
    say(running, 0, 60, 60)
    say(running, 1, 76, 44)
    html = client.get(page(running)).text
    for words in (
        "Undecided yet",
        "50.0%",
        "63.3%",
        "+13.3 points",
        "+0.9 points to +25.8 points",
        "The plain p-value is not to be believed yet",
    ):
        assert words in html, words


def test_a_draft_is_deleted(alice: Principal, make_agent: Callable[..., Agent]) -> None:
    draft = services.create_experiment(principal=alice, agent=make_agent(), name="Kindness", variants=ARMS)
    assert signed_in(alice).post(page(draft, "remove")).status_code == 302
    assert not Experiment.objects.exists()


def test_members_read_and_only_owners_act(carol: Principal, running: Experiment) -> None:
    client = signed_in(carol)
    assert client.get(page(running)).status_code == 200
    assert client.get(ADD).status_code == 403
    assert client.post(page(running, "stop")).status_code == 403


def test_mallory_finds_no_experiment_and_no_delivery(
    mallory: Principal, alice: Principal, running: Experiment, make_answer: Callable[..., Message]
) -> None:
    sent = delivery(alice, make_answer())
    client = signed_in(mallory)
    assert "Kindness" not in client.get("/admin/feedback/experiment/").text
    assert "feedback.given" not in client.get(LOG).text
    for address in (page(running), f"{LOG}{sent.pk}/change/"):
        assert client.get(address, follow=True).redirect_chain[-1][0] == "/admin/"
    client.post(page(running, "stop"))
    client.post(reverse("admin:feedback_webhookdelivery_replay", args=[sent.pk]))
    running.refresh_from_db()
    assert running.status == "running"
    assert WebhookDelivery.objects.count() == 1


def delivery(principal: Principal, answer: Message) -> WebhookDelivery:
    create_webhook(principal=principal, url="https://93.184.215.14/hook")
    giving.give_feedback(principal=principal, message_id=answer.id, thumb="up")
    return WebhookDelivery.objects.get()


def test_a_delivery_is_sent_again_after_a_question(alice: Principal, make_answer: Callable[..., Message]) -> None:
    sent = delivery(alice, make_answer())
    client = signed_in(alice)
    assert "feedback.given" in client.get(LOG).text
    again = reverse("admin:feedback_webhookdelivery_replay", args=[sent.pk])
    assert client.get(again).status_code == 200
    assert WebhookDelivery.objects.count() == 1
    client.post(again)
    assert WebhookDelivery.objects.filter(body=sent.body).count() == 2
