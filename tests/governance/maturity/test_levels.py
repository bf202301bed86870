from collections.abc import Callable
from dataclasses import asdict
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from django.test import TestCase

from agents.models import Agent, Maturity, RunStatus
from atom.ground.errors import AlreadyDecided, Conflict, Forbidden
from atom.ground.models import AuditEntry
from atom.ground.principal import Principal
from governance import services
from governance.judging import judge_action
from governance.maturity import levels, proposals, reviews, runs, training
from governance.maturity.facts import Share
from governance.maturity.readiness import WEIGHTS, Criterion, Evidence, evidence_of
from governance.maturity.wilson import interval, more_for
from governance.models import Approval, Decision, LevelChange, Proposal, Review, TrainingTask
from governance.oversight import change_oversight
from tests.governance.conftest import action_of
from tests.governance.maturity.conftest import confidence, ended_run, reviewed_actions, runs_that_went_well

KINDS = ("draft", "suggest", "plan", "propose", "generate")


def criterion(evidence: Evidence, name: str) -> Criterion:
    return next(found for found in evidence.criteria if found.name == name)


@pytest.fixture
def ready(student: Agent, bob: Principal) -> Agent:
    """A student for whose promotion everything speaks."""
    runs_that_went_well(student, 30)
    reviewed_actions(student, bob, *KINDS * 6)
    return student


# --- the interval ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hits", "count", "low", "high"),
    [
        # The same as R's prop.test(hits, count, correct = FALSE).
        (8, 8, 0.6756, 1.0),
        (20, 20, 0.8389, 1.0),
        (0, 10, 0.0, 0.2775),
        (7, 10, 0.3968, 0.8922),
        (0, 0, 0.0, 1.0),
    ],
)
def test_the_interval_is_wilsons(hits: int, count: int, low: float, high: float) -> None:
    found = interval(hits, count)
    assert (round(found.low, 4), round(found.high, 4)) == (low, high)


@pytest.mark.parametrize(("hits", "count", "needed"), [(0, 0, 0.7), (10, 12, 0.85), (32, 32, 0.95), (5, 50, 0.95)])
def test_so_many_more_are_just_enough(hits: int, count: int, needed: float) -> None:
    more = more_for(hits, count, needed)
    assert more is not None
    assert interval(hits + more, count + more).low >= needed
    assert interval(hits + more - 1, count + more - 1).low < needed


def test_certainty_is_never_reached() -> None:
    assert more_for(5, 5, 1.0) is None
    assert more_for(100, 100, 0.5) == 0


# --- the evidence ------------------------------------------------------------------------------------------


def test_without_evidence_each_criterion_says_what_is_missing(student: Agent) -> None:
    evidence = evidence_of(student)
    assert (evidence.maturity, evidence.to, evidence.holds, evidence.runs) == ("student", "intern", False, 0)
    sentences = {found.name: found.sentence for found in evidence.criteria if not found.holds}
    assert sentences == {
        "runs": "10 more runs.",
        "intervention_rate": "No run yet in which anybody could have stepped in.",
        "compliance": "9 more reviewed level-2 actions.",
        "readiness": "Readiness is surely 0.07 and must be 0.70; most is missing in zero intervention.",
    }
    assert criterion(evidence, "confidence").holds


def test_the_weights_of_readiness_sum_up_to_one() -> None:
    assert sum(map(Decimal, map(str, WEIGHTS.values()))) == 1


def test_when_all_criteria_hold_the_evidence_holds(ready: Agent) -> None:
    evidence = evidence_of(ready)
    assert evidence.holds, evidence.criteria
    compliance = criterion(evidence, "compliance")
    assert (compliance.value, compliance.count, round(compliance.low, 4)) == (1.0, 30, 0.8865)
    parts = {part.name: part for part in evidence.parts}
    assert parts["diversity"].value == 1.0
    assert parts["zero_intervention"].count == 30
    expected = sum(WEIGHTS[name] * part.low for name, part in parts.items())
    assert criterion(evidence, "readiness").low == pytest.approx(expected)


def test_at_least_is_judged_by_the_lower_end(student: Agent, bob: Principal) -> None:
    reviewed_actions(student, bob, *KINDS)
    compliance = criterion(evidence_of(student), "compliance")
    assert (compliance.value, compliance.holds) == (1.0, False)
    assert compliance.low < 0.7
    assert compliance.sentence == "4 more reviewed level-2 actions."


def test_nobody_looked_is_no_evidence(make_agent: Callable[..., Agent], alice: Principal) -> None:
    agent = make_agent("intern2", maturity=Maturity.SUPERVISED)
    change_oversight(principal=alice, spot_check_share=Decimal(0))
    for _ in range(20):
        judge_action(action_of(agent, "update"))
    assert criterion(evidence_of(agent), "compliance").count == 0


def test_rejected_and_edited_actions_were_not_right(student: Agent, bob: Principal) -> None:
    reviewed_actions(student, bob, "draft")
    rejected = Approval.objects.get(decision=judge_action(action_of(student, "plan")).decision_id)
    services.reject(approval=rejected, principal=bob, revision=1)
    edited = Approval.objects.get(decision=judge_action(action_of(student, "plan")).decision_id)
    Approval.objects.filter(pk=edited.pk).update(revision=2)
    services.approve(approval=edited, principal=bob, revision=2)
    compliance = criterion(evidence_of(student), "compliance")
    assert (compliance.count, round(compliance.value, 4)) == (3, 0.3333)


def test_a_run_in_which_people_stepped_in_counts_as_such(student: Agent, bob: Principal) -> None:
    runs_that_went_well(student, 1)
    runs.settle_run(ended_run(student, RunStatus.TERMINATED).pk)
    rate = criterion(evidence_of(student), "intervention_rate")
    assert (rate.value, rate.count, rate.holds) == (0.5, 2, True)
    runs.settle_run(ended_run(student, RunStatus.TERMINATED).pk)
    rate = criterion(evidence_of(student), "intervention_rate")
    assert (rate.holds, rate.sentence) == (False, "1 more run in which nobody steps in.")


def test_cancelled_runs_count_neither_way(student: Agent) -> None:
    runs.settle_run(ended_run(student, RunStatus.CANCELLED).pk)
    assert evidence_of(student).runs == 0


def test_the_counters_start_anew_with_the_level(ready: Agent, bob: Principal) -> None:
    proposals.promote(agent=ready, principal=bob, to="intern", reason="earned")
    evidence = evidence_of(Agent.objects.get(pk=ready.pk))
    assert (evidence.maturity, evidence.to, evidence.runs) == ("intern", "supervised", 0)
    assert {part.name: part.count for part in evidence.parts if part.count} == {}
    levels.demote(agent=ready, principal=bob, to="student", reason="back")
    again = evidence_of(Agent.objects.get(pk=ready.pk))
    assert (again.runs, criterion(again, "compliance").count) == (0, 0)


def test_above_autonomous_there_is_nothing(captain: Agent) -> None:
    assert (evidence_of(captain).to, evidence_of(captain).holds) == (None, False)


def test_a_share_of_nothing_is_unknown() -> None:
    assert (Share(0, 0).value, Share(0, 0).low, Share(0, 0).high) == (0.0, 0.0, 1.0)


# --- promotion ---------------------------------------------------------------------------------------------


def test_without_evidence_nobody_is_promoted(student: Agent, alice: Principal) -> None:
    with pytest.raises(Conflict, match=r"10 more runs\."):
        proposals.promote(agent=student, principal=alice, to="intern", reason="I like it")
    assert not LevelChange.objects.exists()


@pytest.mark.parametrize("to", ["supervised", "autonomous", "student"])
def test_a_level_is_never_skipped(ready: Agent, alice: Principal, to: str) -> None:
    with pytest.raises(Conflict):
        proposals.promote(agent=ready, principal=alice, to=to, reason="quick")


def test_a_promotion_is_in_force_at_once_and_audited(ready: Agent, bob: Principal) -> None:
    assert judge_action(action_of(ready, "draft")).decision == "ask"
    proposals.promote(agent=ready, principal=bob, to="intern", reason="earned")
    assert judge_action(action_of(ready, "draft")).decision == "allow"
    entry = AuditEntry.objects.get(event="agent.promoted")
    assert entry.actor == "bob"
    change = LevelChange.objects.get()
    assert (change.reason, change.evidence["holds"], change.evidence["runs"]) == ("earned", True, 30)


def test_a_member_promotes_nobody(ready: Agent, carol: Principal) -> None:
    with pytest.raises(Forbidden):
        proposals.promote(agent=ready, principal=carol, to="intern", reason="please")


def test_a_demotion_is_in_force_at_once(captain: Agent, bob: Principal) -> None:
    levels.demote(agent=captain, principal=bob, to="student", reason="broke the build")
    assert judge_action(action_of(captain)).decision == "deny"
    assert AuditEntry.objects.get(event="agent.demoted").actor == "bob"


@pytest.mark.parametrize("to", ["student", "intern"])
def test_a_demotion_goes_down(student: Agent, bob: Principal, to: str) -> None:
    with pytest.raises(Conflict):
        levels.demote(agent=student, principal=bob, to=to, reason="?")


# --- proposals ---------------------------------------------------------------------------------------------


def test_a_level_is_proposed_once_when_all_criteria_hold(ready: Agent) -> None:
    proposed = proposals.consider(ready.pk)
    assert proposed is not None
    assert (proposed.before, proposed.to, proposed.status) == ("student", "intern", "open")
    assert proposed.evidence["criteria"][0]["name"] == "runs"
    assert proposals.consider(ready.pk) is None
    ready.refresh_from_db()
    assert ready.maturity == "student"


def test_nothing_is_proposed_without_evidence(student: Agent) -> None:
    runs_that_went_well(student, 9)
    assert proposals.consider(student.pk) is None


def test_a_confirmed_proposal_moves_the_agent(ready: Agent, bob: Principal, carol: Principal) -> None:
    proposed = proposals.consider(ready.pk)
    assert proposed is not None
    with pytest.raises(Forbidden):
        proposals.confirm(proposal=proposed, principal=carol)
    decided = proposals.confirm(proposal=proposed, principal=bob, reason="well done")
    assert (decided.status, decided.decided_by_id, decided.reason) == ("confirmed", bob.user_id, "well done")
    ready.refresh_from_db()
    assert ready.maturity == "intern"
    with pytest.raises(Conflict):
        proposals.confirm(proposal=proposed, principal=bob)


def test_a_declined_proposal_is_not_repeated_at_once(ready: Agent, bob: Principal) -> None:
    proposed = proposals.consider(ready.pk)
    assert proposed is not None
    proposals.decline(proposal=proposed, principal=bob, reason="not yet")
    with pytest.raises(AlreadyDecided):
        proposals.decline(proposal=proposed, principal=bob, reason="not yet")
    assert proposals.consider(ready.pk) is None
    runs_that_went_well(ready, 9)
    assert proposals.consider(ready.pk) is None
    runs_that_went_well(ready, 1)
    assert proposals.consider(ready.pk) is not None
    assert AuditEntry.objects.filter(event="level.declined").count() == 1


def test_evidence_that_has_gone_is_not_confirmed(ready: Agent, bob: Principal) -> None:
    proposed = proposals.consider(ready.pk)
    assert proposed is not None
    Agent.objects.update(confidence=Decimal("0.4"))
    with pytest.raises(Conflict):
        proposals.confirm(proposal=proposed, principal=bob)
    assert Proposal.objects.get().status == "open"


def test_another_change_overtakes_a_proposal(ready: Agent, bob: Principal) -> None:
    proposals.consider(ready.pk)
    levels.set_level(ready, "supervised", reason="x", by="test", evidence={})
    assert Proposal.objects.get().status == "overtaken"


def test_a_promotion_by_hand_confirms_the_proposal(ready: Agent, bob: Principal) -> None:
    proposals.consider(ready.pk)
    proposals.promote(agent=ready, principal=bob, to="intern", reason="earned")
    assert Proposal.objects.get().status == "confirmed"


def test_a_lower_level_is_proposed_when_the_last_20_runs_fall_short(captain: Agent, bob: Principal) -> None:
    runs_that_went_well(captain, 19)
    runs.settle_run(ended_run(captain, RunStatus.TERMINATED).pk)
    proposed = proposals.consider(captain.pk)
    assert proposed is not None
    assert (proposed.to, proposed.is_promotion) == ("supervised", False)
    assert proposed.evidence["reasons"] == ["People stepped in in 5% of the last 20 runs; 0% may be."]
    proposals.confirm(proposal=proposed, principal=bob, reason="yes")
    captain.refresh_from_db()
    assert captain.maturity == "supervised"


def test_what_lies_more_than_20_runs_back_lowers_nobody(captain: Agent) -> None:
    runs.settle_run(ended_run(captain, RunStatus.TERMINATED).pk)
    runs_that_went_well(captain, 20)
    assert proposals.consider(captain.pk) is None


# --- spot checks -------------------------------------------------------------------------------------------


def test_one_in_twenty_is_drawn_and_always_the_same() -> None:
    ids = [UUID(int=number) for number in range(20_000)]
    drawn = [found for found in ids if reviews.is_drawn(found, Decimal("0.05"))]
    assert 900 <= len(drawn) <= 1100
    assert drawn == [found for found in ids if reviews.is_drawn(found, Decimal("0.05"))]
    assert not any(reviews.is_drawn(found, Decimal(0)) for found in ids)
    assert all(reviews.is_drawn(found, Decimal(1)) for found in ids)


def test_a_drawn_action_waits_for_a_person_and_is_evidence_then(
    make_agent: Callable[..., Agent], alice: Principal, bob: Principal
) -> None:
    agent = make_agent("watched", maturity=Maturity.SUPERVISED)
    change_oversight(principal=alice, spot_check_share=Decimal(1))
    for name in ("update", "update", "chat", "delete"):
        judge_action(action_of(agent, name))
    right, wrong = Review.objects.order_by("created_at")
    assert {right.decision.action, wrong.decision.action} == {"update"}
    assert criterion(evidence_of(agent), "compliance").count == 0
    with TestCase.captureOnCommitCallbacks() as told:
        reviews.judge_review(review=right, principal=bob, is_right=True)
    assert len(told) == 1
    reviews.judge_review(review=wrong, principal=bob, is_right=False, note="wrong customer")
    compliance = criterion(evidence_of(agent), "compliance")
    assert (compliance.value, compliance.count) == (0.5, 2)
    with pytest.raises(AlreadyDecided):
        reviews.judge_review(review=wrong, principal=bob, is_right=True)
    assert AuditEntry.objects.filter(event__startswith="review.").count() == 2


def test_by_default_a_twentieth_of_what_is_allowed_is_drawn(captain: Agent) -> None:
    for _ in range(50):
        judge_action(action_of(captain, "read"))
    drawn = {row.pk for row in Decision.objects.all() if reviews.is_drawn(row.pk, Decimal("0.05"))}
    assert set(Review.objects.values_list("decision", flat=True)) == drawn


def test_a_member_reviews_nothing(captain: Agent, alice: Principal, carol: Principal) -> None:
    change_oversight(principal=alice, spot_check_share=Decimal(1))
    judge_action(action_of(captain, "update"))
    with pytest.raises(Forbidden):
        reviews.judge_review(review=Review.objects.get(), principal=carol, is_right=True)


# --- training ----------------------------------------------------------------------------------------------


def test_what_a_student_may_not_do_becomes_one_task(student: Agent) -> None:
    for record in (7, 8):
        judge_action(action_of(student, "delete", arguments={"id": record}))
    judge_action(action_of(student, "update"))
    task = TrainingTask.objects.get(action="delete")
    assert (task.times, task.arguments, task.status) == (2, {"id": 8}, "open")
    assert task.reason == "A student may not delete; this needs an autonomous agent."
    assert TrainingTask.objects.count() == 2


def test_only_students_are_taught(intern: Agent, captain: Agent) -> None:
    judge_action(action_of(intern))
    judge_action(action_of(captain))
    Agent.objects.filter(pk=captain.pk).update(status="paused")
    judge_action(action_of(captain))
    assert not TrainingTask.objects.exists()


@pytest.mark.parametrize(
    ("performance", "after"),
    [(0.0, 0.55), (0.29, 0.55), (0.3, 0.6), (0.49, 0.6), (0.5, 0.65), (0.69, 0.65), (0.7, 0.7), (1.0, 0.7)],
)
def test_a_completed_task_is_worth_its_performance(
    student: Agent, bob: Principal, performance: float, after: float
) -> None:
    judge_action(action_of(student))
    done = training.complete(task=TrainingTask.objects.get(), principal=bob, performance=performance, note="good")
    assert (done.status, done.performance, done.completed_by_id) == ("completed", performance, bob.user_id)
    assert confidence(student) == after
    with pytest.raises(AlreadyDecided):
        training.complete(task=done, principal=bob, performance=1.0)
    assert confidence(student) == after


def test_after_a_completed_task_the_same_action_is_a_new_one(student: Agent, bob: Principal) -> None:
    judge_action(action_of(student))
    training.complete(task=TrainingTask.objects.get(), principal=bob, performance=1.0)
    judge_action(action_of(student))
    assert TrainingTask.objects.count() == 2


def test_a_member_completes_no_task(student: Agent, carol: Principal) -> None:
    judge_action(action_of(student))
    with pytest.raises(Forbidden):
        training.complete(task=TrainingTask.objects.get(), principal=carol, performance=1.0)


def test_the_evidence_is_data_for_any_door(ready: Agent) -> None:
    kept: dict[str, Any] = proposals.as_json(evidence_of(ready))
    assert kept["to"] == "intern"
    assert set(kept["criteria"][2]) == set(asdict(criterion(evidence_of(ready), "compliance")))
