"""What an experiment counts, what it may conclude from it, and how many values it takes."""

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.utils import timezone

from agents.models import Agent, Message, Run
from agents.runs.records import add_message
from atom.ground.principal import Principal
from feedback.experiments import assignment, services
from feedback.experiments.advice import Advice, advise
from feedback.experiments.assignment import Experiments
from feedback.experiments.results import results_of
from feedback.models import Experiment, Feedback
from llm.messages import Text
from tests.feedback.test_experiments import ARMS, say

MakeAgent = Callable[..., Agent]
THREE: list[dict[str, Any]] = [*ARMS, {"name": "warm", "temperature": 1.0}]


def begin(alice: Principal, agent: Agent, arms: list[dict[str, Any]] = ARMS, **more: Any) -> Experiment:
    made = services.create_experiment(principal=alice, agent=agent, name="Kindness", variants=arms, **more)
    return services.start_experiment(experiment=made, principal=alice)


def hundreds(alice: Principal, agent: Agent, *ups: int) -> Experiment:
    """So many of a hundred thumbs up for each arm, which is all that was planned."""
    made = begin(alice, agent, THREE[: len(ups)], planned_per_arm=100)
    for place, up in enumerate(ups):
        say(made, place, up, 100 - up)
    return made


def winner_of(experiment: Experiment) -> tuple[str, str | None]:
    found = results_of(experiment)
    return found.state, experiment.variants.get(pk=found.winner).name if found.winner else None


# --- Who is served ---


def test_two_experiments_draw_their_people_apart(alice: Principal, make_agent: MakeAgent) -> None:
    one, two = (begin(alice, make_agent(slug)) for slug in ("one", "two"))
    chooser = Experiments()
    places = {variant.id: variant.place for made in (one, two) for variant in made.variants.all()}

    def place_of(made: Experiment, number: int) -> int:
        found = chooser.choose(made.agent_id, session_id=UUID(int=number), user_id=None)
        assert found is not None
        return places[found.id]

    alike = sum(place_of(one, number) == place_of(two, number) for number in range(200))
    assert 50 < alike < 150


def test_a_call_without_a_conversation_is_its_persons(alice: Principal, make_agent: MakeAgent) -> None:
    made = begin(alice, make_agent())
    chooser, person = Experiments(), uuid4()
    served = {chooser.choose(made.agent_id, session_id=None, user_id=person) for _ in range(3)}
    assert len(served) == 1
    assert None not in served


def test_a_process_that_runs_hears_of_a_new_experiment(
    alice: Principal, make_agent: MakeAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assignment, "REMEMBER_S", 0.0)
    chooser, agent = Experiments(), make_agent()
    assert chooser.choose(agent.pk, session_id=uuid4(), user_id=None) is None
    made = begin(alice, agent)
    assert chooser.choose(agent.pk, session_id=uuid4(), user_id=None) is not None
    services.stop_experiment(experiment=made, principal=alice)
    assert chooser.choose(agent.pk, session_id=uuid4(), user_id=None) is None


# --- What counts ---


def test_rejected_withdrawn_and_unrated_words_count_in_no_arm(alice: Principal, make_agent: MakeAgent) -> None:
    made = begin(alice, make_agent(), planned_per_arm=200)
    for place in (0, 1):
        say(made, place, 0, 130)
    arm = made.variants.get(place=1)
    rows = list(Feedback.objects.filter(variant=arm.id).values_list("pk", flat=True))
    Feedback.objects.filter(pk__in=rows[:10]).update(status="rejected")
    Feedback.objects.filter(pk__in=rows[10:15]).update(withdrawn_at=timezone.now())
    Feedback.objects.filter(pk__in=rows[15:18]).update(thumb="", comment="hm")
    assert [found.count for found in results_of(made).arms] == [130, 112]


def test_runs_that_failed_say_nothing_about_latency(alice: Principal, make_agent: MakeAgent) -> None:
    made = begin(alice, make_agent(), metric="latency", planned_per_arm=100)
    for variant in made.variants.all():
        answered(made.agent, [1.0, 2.0], variant=variant.id)
        answered(made.agent, [90.0], variant=variant.id, status="failed")
    assert [(arm.count, arm.value) for arm in results_of(made).arms] == [(2, 1.5), (2, 1.5)]


# --- What may be concluded ---


def test_the_best_of_several_better_arms_wins(alice: Principal, make_agent: MakeAgent) -> None:
    assert winner_of(hundreds(alice, make_agent(), 30, 60, 85)) == ("winner", "warm")


def test_the_first_arm_wins_only_where_every_other_is_worse(alice: Principal, make_agent: MakeAgent) -> None:
    assert winner_of(hundreds(alice, make_agent("one"), 85, 50, 40)) == ("winner", "as it is")
    assert winner_of(hundreds(alice, make_agent("two"), 85, 50, 84)) == ("no_difference", None)


def test_with_more_arms_each_has_to_be_surer(alice: Principal, make_agent: MakeAgent) -> None:
    """65 against 50 of 100 is p = 0.032: enough for one comparison at 4 %, not for two that share it."""
    assert winner_of(hundreds(alice, make_agent("one"), 50, 65)) == ("winner", "kind")
    assert winner_of(hundreds(alice, make_agent("two"), 50, 65, 50)) == ("no_difference", None)


# --- How many values it takes ---


def answered(agent: Agent, seconds: Iterable[float], *, days_ago: int = 1, **more: Any) -> None:
    """Runs whose first word came after so many seconds."""
    rows = {"workspace_id": agent.workspace_id, "agent": agent, "status": "succeeded", **more}
    at = timezone.now() - timedelta(days=days_ago)
    Run.objects.bulk_create(Run(**rows, time_to_first_token_s=value, created_at=at) for value in seconds)


def said(agent: Agent, *, ups: int = 0, downs: int = 0, unrated: int = 0, days_ago: int = 1) -> None:
    run = Run.objects.create(workspace_id=agent.workspace_id, agent=agent)
    rows: dict[str, Any] = {
        "workspace_id": agent.workspace_id,
        "agent": agent,
        "run": run,
        "message": add_message(run, Message.Role.ASSISTANT, [Text("hello")]),
        "created_at": timezone.now() - timedelta(days=days_ago),
    }
    thumbs = ["up"] * ups + ["down"] * downs + [""] * unrated
    Feedback.objects.bulk_create(Feedback(**rows, thumb=thumb, comment="" if thumb else "hm") for thumb in thumbs)


def test_the_advice_leans_on_what_was_said_of_this_agent_in_the_last_month(make_agent: MakeAgent) -> None:
    """199 per arm find 80 % against 90 % (Fleiss); 398 at 50 in 30 days take 239 days."""
    agent = make_agent()
    said(agent, ups=40, downs=10, unrated=5)
    said(agent, downs=20, days_ago=31)
    said(make_agent("other"), downs=20)
    assert advise(agent, metric="positive", min_effect=0.1, arms=2) == Advice(199, 239, 0.8)


def test_the_advice_for_latency_leans_on_runs_that_succeeded(make_agent: MakeAgent) -> None:
    """A variance of 25/99 and a difference of 0.1 s take 2 * 0.2525 * (1.96 + 0.8416)^2 / 0.01 values."""
    agent = make_agent()
    answered(agent, [1.0, 2.0] * 50)
    answered(agent, [90.0] * 5, status="failed")
    answered(agent, [90.0] * 5, days_ago=31)
    answered(make_agent("other"), [90.0] * 5)
    assert advise(agent, metric="latency", min_effect=0.1, arms=2) == Advice(397, 238, 1.5)


def test_fewer_than_a_hundred_values_are_never_planned(alice: Principal, make_agent: MakeAgent) -> None:
    assert begin(alice, make_agent(), planned_per_arm=5).planned_per_arm == 100
