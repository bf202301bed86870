"""Experiments: who is served by which variant, what may be concluded, and the winner's promotion."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import httpx
import pytest
from rest_framework.test import APIClient

from agents.models import Agent, Message, Run
from agents.runs.records import add_message
from agents.variants import prompt_version
from atom.ground.errors import Conflict
from atom.ground.models import AuditEntry
from atom.ground.principal import Principal
from feedback.experiments import services
from feedback.experiments.assignment import Experiments
from feedback.experiments.results import results_of
from feedback.models import Experiment, Feedback, Unit
from llm.messages import Text
from tests.simulators.openai import OpenAISimulator

API = Callable[..., APIClient]
ARMS: list[dict[str, Any]] = [{"name": "as it is"}, {"name": "kind", "system_prompt": "Be kind.", "temperature": 0.7}]


@pytest.fixture
def draft(alice: Principal, make_agent: Callable[..., Agent]) -> Experiment:
    return services.create_experiment(
        principal=alice, agent=make_agent(), name="Kindness", variants=ARMS, planned_per_arm=200
    )


@pytest.fixture
def running(alice: Principal, draft: Experiment) -> Experiment:
    return services.start_experiment(experiment=draft, principal=alice)


def say(experiment: Experiment, place: int, ups: int, downs: int) -> None:
    """So many thumbs for a variant, each on an answer of its own run."""
    variant = experiment.variants.get(place=place)
    run = Run.objects.create(workspace_id=experiment.workspace_id, agent_id=experiment.agent_id, variant=variant.id)
    answer = add_message(run, Message.Role.ASSISTANT, [Text("hello")])
    rows = [
        Feedback(
            workspace_id=experiment.workspace_id,
            agent_id=experiment.agent_id,
            run=run,
            message=answer,
            variant=variant.id,
            thumb=thumb,
            status="accepted",
        )
        # Mixed, so that the first hundred are like the rest.
        for thumb in [
            ("up", "down")[number * downs // (ups + downs) != (number + 1) * downs // (ups + downs)]
            for number in range(ups + downs)
        ]
    ]
    Feedback.objects.bulk_create(rows)


def test_a_conversation_keeps_its_variant_and_both_get_their_share(running: Experiment) -> None:
    chooser = Experiments()
    people = [uuid4() for _ in range(2000)]
    first = [chooser.choose(running.agent_id, session_id=one, user_id=None) for one in people]
    again = [Experiments().choose(running.agent_id, session_id=one, user_id=uuid4()) for one in people[:50]]
    assert first[:50] == again
    second = running.variants.get(place=1).id
    assert 850 < sum(found is not None and found.id == second for found in first) < 1150


def test_weights_shift_the_shares(alice: Principal, make_agent: Callable[..., Agent]) -> None:
    arms = [{**ARMS[0], "weight": 9}, {**ARMS[1], "weight": 1}]
    made = services.create_experiment(principal=alice, agent=make_agent(), name="Careful", variants=arms)
    services.start_experiment(experiment=made, principal=alice)
    chooser = Experiments()
    rare = made.variants.get(place=1).id
    found = [chooser.choose(made.agent_id, session_id=uuid4(), user_id=None) for _ in range(2000)]
    assert 120 < sum(one is not None and one.id == rare for one in found) < 290


def test_by_person_every_conversation_of_theirs_is_served_alike(running: Experiment) -> None:
    Experiment.objects.update(unit=Unit.USER)
    chooser, person = Experiments(), uuid4()
    found = {chooser.choose(running.agent_id, session_id=uuid4(), user_id=person) for _ in range(30)}
    assert len(found) == 1
    assert chooser.choose(running.agent_id, session_id=uuid4(), user_id=None) is None


def test_nobody_takes_part_in_a_draft_or_a_stopped_experiment(alice: Principal, draft: Experiment) -> None:
    assert Experiments().choose(draft.agent_id, session_id=uuid4(), user_id=None) is None
    services.start_experiment(experiment=draft, principal=alice)
    services.stop_experiment(experiment=draft, principal=alice)
    assert Experiments().choose(draft.agent_id, session_id=uuid4(), user_id=None) is None


@pytest.mark.django_db(transaction=True)
def test_the_variant_reaches_the_model_and_the_run(
    server: str,
    alice: Principal,
    token_of: Callable[[Principal], str],
    make_agent: Callable[..., Agent],
    openai_simulator: OpenAISimulator,
) -> None:
    agent = make_agent(system_prompt="Be brief.")
    arms: list[dict[str, Any]] = [
        {"name": "one", "system_prompt": "Be kind.", "temperature": 0.7},
        {"name": "two", "models": ["openai/gpt-4o"]},
    ]
    made = services.create_experiment(principal=alice, agent=agent, name="Kindness", variants=arms)
    services.start_experiment(experiment=made, principal=alice)
    headers = {"Authorization": f"Bearer {token_of(alice)}"}
    served: dict[str, dict[str, Any]] = {}
    for _ in range(40):
        answer = httpx.post(f"{server}/api/agents/helper/chat/", json={"message": "hi"}, headers=headers, timeout=30)
        run = Run.objects.get(pk=answer.json()["run_id"])
        variant = made.variants.get(pk=str(run.variant))
        served[variant.name] = openai_simulator.requests[-1].json
        expected = variant.system_prompt or "Be brief."
        assert run.prompt_version == prompt_version(expected)
        if len(served) == 2:
            break
    one, two = served["one"], served["two"]
    assert (one["messages"][0]["content"], one["temperature"], one["model"]) == ("Be kind.", 0.7, "gpt-4o-mini")
    assert (two["messages"][0]["content"], "temperature" in two, two["model"]) == ("Be brief.", False, "gpt-4o")


def test_under_a_hundred_values_per_arm_nothing_is_concluded(running: Experiment) -> None:
    say(running, 0, 10, 89)
    say(running, 1, 99, 1)
    found = results_of(running)
    assert (found.state, found.winner) == ("too_few", None)


def test_a_great_difference_is_found_early_and_says_that_it_was_a_look(running: Experiment) -> None:
    say(running, 0, 30, 90)
    say(running, 1, 110, 10)
    found = results_of(running)
    assert (found.state, found.winner) == ("winner", running.variants.get(place=1).id)
    assert "before the planned 200" in found.notes[0]


def test_a_small_difference_seen_early_is_not_believed(running: Experiment) -> None:
    """Even at 1 % a plain test would call this one: looking too early is how experiments fool people."""
    say(running, 0, 60, 60)
    say(running, 1, 82, 38)
    found = results_of(running)
    assert found.arms[1].comparison is not None
    assert found.arms[1].comparison.p_value < 0.01
    assert (found.state, found.winner) == ("undecided", None)


def test_at_the_planned_size_later_values_change_nothing(running: Experiment) -> None:
    say(running, 0, 100, 100)
    say(running, 1, 140, 60)
    decided = results_of(running)
    assert (decided.state, decided.has_planned_size) == ("winner", True)
    say(running, 1, 0, 500)
    assert results_of(running) == decided


def test_equal_arms_end_without_a_difference(running: Experiment) -> None:
    for place in (0, 1):
        say(running, place, 120, 80)
    assert results_of(running).state == "no_difference"


def test_latency_is_compared_over_runs_and_less_is_better(alice: Principal, make_agent: Callable[..., Agent]) -> None:
    made = services.create_experiment(
        principal=alice, agent=make_agent(), name="Speed", variants=ARMS, metric="latency", planned_per_arm=100
    )
    services.start_experiment(experiment=made, principal=alice)
    for variant, base_s in zip(made.variants.all(), (1.0, 0.6), strict=True):
        Run.objects.bulk_create(
            Run(
                workspace_id=made.workspace_id,
                agent_id=made.agent_id,
                variant=variant.id,
                status="succeeded",
                time_to_first_token_s=base_s + number % 7 / 10,
            )
            for number in range(100)
        )
    found = results_of(made)
    assert (found.state, found.winner) == ("winner", made.variants.get(place=1).id)
    assert found.arms[1].comparison is not None
    assert found.arms[1].comparison.difference == pytest.approx(-0.4, abs=0.01)


def test_the_winner_is_promoted_once_after_the_stop(api: API, alice: Principal, running: Experiment) -> None:
    say(running, 0, 30, 170)
    say(running, 1, 180, 20)
    alices = api(alice)
    path = f"/api/experiments/{running.id}"
    assert alices.post(f"{path}/promote/").status_code == 409
    stopped = alices.post(f"{path}/stop/", {"reason": "enough"}, format="json").json()
    assert (stopped["status"], stopped["results"]["state"]) == ("completed", "winner")
    promoted = alices.post(f"{path}/promote/")
    assert (promoted.status_code, promoted.json()["system_prompt"]) == (200, "Be kind.")
    assert promoted.json()["temperature"] == 0.7
    assert alices.post(f"{path}/promote/").status_code == 409
    events = AuditEntry.objects.filter(event__startswith="experiment.").order_by("seq").values_list("event", flat=True)
    assert list(events) == [f"experiment.{verb}" for verb in ("created", "started", "stopped", "promoted")]
    assert AuditEntry.objects.filter(event="agent.updated").count() == 1


def test_without_a_proven_difference_nobody_is_promoted(alice: Principal, running: Experiment) -> None:
    for place in (0, 1):
        say(running, place, 120, 80)
    services.stop_experiment(experiment=running, principal=alice)
    with pytest.raises(Conflict):
        services.promote_winner(experiment=running, principal=alice)


def test_one_experiment_runs_for_an_agent_at_a_time(api: API, alice: Principal, running: Experiment) -> None:
    other = services.create_experiment(principal=alice, agent=running.agent, name="Second", variants=ARMS)
    assert api(alice).post(f"/api/experiments/{other.id}/start/").status_code == 409
    assert api(alice).post(f"/api/experiments/{running.id}/start/").status_code == 409
    assert api(alice).delete(f"/api/experiments/{running.id}/").status_code == 409
    assert api(alice).delete(f"/api/experiments/{other.id}/").status_code == 204


@pytest.mark.parametrize(
    "wrong",
    [
        {"variants": ARMS[:1]},
        {"variants": [ARMS[0], {"name": "same"}]},
        {"variants": [ARMS[0], {**ARMS[1], "name": "as it is"}]},
        {"variants": [{"name": str(number), "temperature": number / 10} for number in range(7)]},
        {"variants": [ARMS[0], {"name": "hot", "temperature": 3}]},
        {"variants": [ARMS[0], {"name": "none", "models": []}]},
        {"metric": "beauty"},
        {"min_effect": 0},
        {"planned_per_arm": 99},
    ],
    ids=["one arm", "same", "names", "too many", "too hot", "no model", "metric", "no effect", "too small"],
)
def test_an_experiment_that_could_teach_nothing_is_refused(
    api: API, alice: Principal, make_agent: Callable[..., Agent], wrong: dict[str, Any]
) -> None:
    make_agent()
    body = {"agent": "helper", "name": "Kindness", "variants": ARMS, **wrong}
    assert api(alice).post("/api/experiments/", body, format="json").status_code == 400
    assert not Experiment.objects.exists()


def test_the_size_is_advised_before(api: API, alice: Principal, make_agent: Callable[..., Agent]) -> None:
    make_agent()
    advice = api(alice).get("/api/experiments/advice/?agent=helper&min_effect=0.1").json()
    assert advice == {"per_arm": 388, "days": None, "baseline": None}
    body = {"agent": "helper", "name": "Kindness", "variants": ARMS}
    assert api(alice).post("/api/experiments/", body, format="json").json()["planned_per_arm"] == 388
    for metric in ("rating", "cost", "latency"):
        found = api(alice).get(f"/api/experiments/advice/?agent=helper&metric={metric}&arms=3")
        assert found.json()["per_arm"] >= 100


def test_only_owners_run_experiments_and_members_read_them(
    api: API, bob: Principal, carol: Principal, running: Experiment
) -> None:
    body = {"agent": "helper", "name": "Mine", "variants": ARMS}
    assert api(bob).post("/api/experiments/", body, format="json").status_code == 403
    for verb in ("start", "stop", "promote"):
        assert api(carol).post(f"/api/experiments/{running.id}/{verb}/").status_code == 403
    shown = api(carol).get(f"/api/experiments/{running.id}/").json()
    assert (shown["status"], shown["results"]["state"]) == ("running", "too_few")


def test_mallory_finds_no_experiment_of_alices(api: API, mallory: Principal, running: Experiment) -> None:
    hers = api(mallory)
    assert hers.get("/api/experiments/").json()["results"] == []
    for verb in ("", "start/", "stop/", "promote/"):
        call = hers.post if verb else hers.get
        assert call(f"/api/experiments/{running.id}/{verb}").status_code == 404
    assert hers.get("/api/experiments/advice/?agent=helper").status_code == 404
    body = {"agent": "helper", "name": "Hers", "variants": ARMS}
    assert hers.post("/api/experiments/", body, format="json").status_code == 404
