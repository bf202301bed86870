from collections.abc import Callable
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
import time_machine
from django.db.models import Sum
from django.test import TestCase
from django.utils import timezone

from agents.models import Agent, AgentStatus, RunEvent, RunStatus
from agents.runs import records
from agents.runs.live import KILLED
from agents.services import ensure_direct_agent
from atom.ground.errors import Conflict, Forbidden
from atom.ground.principal import Principal
from feedback.models import Feedback
from feedback.services import adjudicate, give_feedback
from governance import services
from governance.maturity import opinions, runs, tasks
from governance.maturity.confidence import Cause, apply_change, reverse_changes
from governance.models import Approval, ConfidenceChange, ConfidenceEvent, RunEvidence, Source
from llm.messages import Text
from tests.governance.maturity.conftest import confidence, ended_run

Ask = Callable[..., Approval]


def cause(delta: str, **given: Any) -> Cause:
    values: dict[str, Any] = {"event": ConfidenceEvent.RUN_SUCCEEDED, "reason": "because", "source": Source.RUN}
    return Cause(delta=Decimal(delta), **{"source_id": uuid4(), **values, **given})


def said(principal: Principal, agent: Agent, **words: Any) -> Feedback:
    given = give_feedback(principal=principal, run_id=ended_run(agent).pk, **words)
    opinions.settle_feedback(given.pk)
    return given


# --- one place ---------------------------------------------------------------------------------------------


def test_a_change_is_a_row_with_its_reason(student: Agent) -> None:
    change = apply_change(student.pk, cause("0.05"))
    assert change is not None
    assert (change.delta, change.applied, change.confidence) == (Decimal("0.05"), Decimal("0.05"), Decimal("0.55"))
    assert (change.reason, change.source) == ("because", "run")
    assert confidence(student) == 0.55


@pytest.mark.parametrize(("delta", "left"), [("0.9", 1.0), ("-0.9", 0.0)])
def test_confidence_stays_between_0_and_1(student: Agent, delta: str, left: float) -> None:
    change = apply_change(student.pk, cause(delta))
    assert change is not None
    assert abs(change.applied) == Decimal("0.5")
    assert confidence(student) == left


def test_what_is_taken_back_is_what_was_applied(student: Agent) -> None:
    wanted = cause("0.9")
    apply_change(student.pk, wanted)
    reverse_changes(student.pk, wanted.source_id, reason="it was not so")
    assert confidence(student) == 0.5
    reverse_changes(student.pk, wanted.source_id, reason="it was not so")
    assert confidence(student) == 0.5


def test_the_same_event_twice_is_counted_once(student: Agent) -> None:
    wanted = cause("0.05")
    assert apply_change(student.pk, wanted) is not None
    assert apply_change(student.pk, wanted) is None
    assert confidence(student) == 0.55


def test_a_change_never_touches_the_status(student: Agent) -> None:
    Agent.objects.update(status=AgentStatus.PAUSED)
    apply_change(student.pk, cause("0.5"))
    student.refresh_from_db()
    assert (student.status, student.maturity) == ("paused", "student")


def test_the_gateways_direct_agent_learns_nothing(student: Agent) -> None:
    direct = ensure_direct_agent(workspace_id=student.workspace_id)
    assert apply_change(direct.pk, cause("0.05")) is None
    assert runs.settle_run(ended_run(direct).pk) is None


# --- runs --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "judged", "after"),
    [
        (RunStatus.SUCCEEDED, "", 0.51),
        (RunStatus.SUCCEEDED, "draft", 0.51),
        (RunStatus.SUCCEEDED, "update", 0.55),
        (RunStatus.SUCCEEDED, "delete", 0.55),
        (RunStatus.FAILED, "", 0.48),
        (RunStatus.FAILED, "draft", 0.48),
        (RunStatus.FAILED, "update", 0.40),
        (RunStatus.FAILED, "delete", 0.40),
        (RunStatus.TERMINATED, "", 0.48),
        (RunStatus.CANCELLED, "", 0.50),
        (RunStatus.INTERRUPTED, "delete", 0.50),
    ],
)
def test_a_run_counts_by_its_highest_complexity(captain: Agent, status: str, judged: str, after: float) -> None:
    runs.settle_run(ended_run(captain, status, judged=judged).pk)
    assert confidence(captain) == after


def test_a_run_counts_once_however_often_its_end_is_told(captain: Agent) -> None:
    run = ended_run(captain)
    for _ in range(3):
        tasks.settle_run(str(run.pk))
    assert confidence(captain) == 0.51
    assert RunEvidence.objects.count() == 1


def test_a_run_that_still_goes_on_counts_nothing(captain: Agent) -> None:
    run = records.open_run(agent=captain, user_id=None, door="chat", model="m", parts=[Text("hi")])
    assert runs.settle_run(run.pk) is None
    assert runs.settle_run(uuid4()) is None


def test_a_killed_run_says_nothing_of_its_agent(captain: Agent) -> None:
    evidence = runs.settle_run(ended_run(captain, RunStatus.TERMINATED, code=KILLED).pk)
    assert evidence is not None
    assert (evidence.is_success, evidence.interventions, confidence(captain)) == (None, 0, 0.5)


def test_the_end_of_a_run_queues_its_counting(
    captain: Agent, queued: Callable[[], list[tuple[str, str]]], django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        run = ended_run(captain)
    assert ("governance.maturity.tasks.settle_run", str(run.pk)) in queued()


def test_a_run_whose_end_was_not_told_is_found_by_the_sweep(captain: Agent) -> None:
    ended_run(captain)
    assert tasks.settle_missed() == 0
    with time_machine.travel(timezone.now() + runs.LEAVE_TIME * 2):
        assert tasks.settle_missed() == 1
        assert tasks.settle_missed() == 0
    assert confidence(captain) == 0.51


def test_a_supervised_run_counts_its_rating_less_the_interventions(captain: Agent, bob: Principal) -> None:
    run = ended_run(captain)
    for seq in (1, 2):
        RunEvent.objects.create(run=run, seq=seq, type="corrected", data={"text": "no"})
    rated = runs.rate_run(run=run, principal=bob, rating=5)
    assert rated.interventions == 2
    # 0.5 + 0.01 for the run + 4/40 for the rating - 0.02 for two interventions.
    assert confidence(captain) == 0.59
    with pytest.raises(Conflict):
        runs.rate_run(run=run, principal=bob, rating=5)


def test_interventions_cost_at_most_a_twentieth(captain: Agent, bob: Principal) -> None:
    run = ended_run(captain)
    for seq in range(9):
        RunEvent.objects.create(run=run, seq=seq, type="corrected", data={"text": "no"})
    runs.rate_run(run=run, principal=bob, rating=1)
    assert confidence(captain) == 0.46


def test_only_who_may_supervise_rates_a_run(captain: Agent, carol: Principal) -> None:
    with pytest.raises(Forbidden):
        runs.rate_run(run=ended_run(captain), principal=carol, rating=5)


# --- feedback ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "after"),
    [
        ({"thumb": "up"}, 0.505),
        ({"thumb": "down"}, 0.49),
        ({"rating": 5}, 0.505),
        ({"rating": 4}, 0.505),
        ({"rating": 3}, 0.5),
        ({"rating": 2}, 0.49),
        ({"rating": 1}, 0.49),
        ({"comment": "hm"}, 0.5),
        ({"correction": "no, 42"}, 0.5),
        ({"correction": "no, 42", "thumb": "down"}, 0.5),
    ],
)
def test_feedback_counts_when_it_is_accepted(
    captain: Agent, carol: Principal, words: dict[str, Any], after: float
) -> None:
    said(carol, captain, **words)
    assert confidence(captain) == after


def test_an_accepted_correction_counts_and_a_rejected_one_is_taken_back(
    captain: Agent, carol: Principal, bob: Principal
) -> None:
    given = said(carol, captain, correction="no, 42")
    for accepted, after in ((True, 0.4), (False, 0.5), (True, 0.4), (False, 0.5)):
        adjudicate(feedback=given, principal=bob, decision="accept" if accepted else "reject")
        opinions.settle_feedback(given.pk)
        opinions.settle_feedback(given.pk)
        assert confidence(captain) == after
    assert ConfidenceChange.objects.filter(source_id=given.pk).count() == 4


def test_a_rejected_thumb_is_taken_back(captain: Agent, carol: Principal, bob: Principal) -> None:
    given = said(carol, captain, thumb="down")
    adjudicate(feedback=given, principal=bob, decision="reject")
    opinions.settle_feedback(given.pk)
    assert confidence(captain) == 0.5


def test_three_thumbs_a_day_of_one_member_on_one_agent_count(
    captain: Agent, carol: Principal, bob: Principal, make_agent: Callable[..., Agent]
) -> None:
    with time_machine.travel("2031-05-05T10:00:00Z", tick=False) as clock:
        for words in ({"thumb": "up"}, {"rating": 5}, {"thumb": "up"}, {"thumb": "up"}, {"rating": 1}):
            said(carol, captain, **words)
        assert confidence(captain) == 0.515
        said(bob, captain, thumb="up")
        assert confidence(captain) == 0.52
        other = make_agent("other")
        said(carol, other, thumb="up")
        assert confidence(other) == 0.505
        clock.move_to("2031-05-06T00:00:00Z")
        said(carol, captain, thumb="up")
        assert confidence(captain) == 0.525


def test_feedback_and_its_adjudication_queue_their_counting(
    captain: Agent,
    carol: Principal,
    bob: Principal,
    queued: Callable[[], list[tuple[str, str]]],
) -> None:
    run = ended_run(captain)
    with TestCase.captureOnCommitCallbacks(execute=True):
        given = give_feedback(principal=carol, run_id=run.pk, thumb="up")
    with TestCase.captureOnCommitCallbacks(execute=True):
        adjudicate(feedback=given, principal=bob, decision="reject")
    assert queued().count(("governance.maturity.tasks.settle_feedback", str(given.pk))) == 2


def test_feedback_that_nobody_was_told_of_is_found_by_the_sweep(
    captain: Agent, carol: Principal, bob: Principal
) -> None:
    given = give_feedback(principal=carol, run_id=ended_run(captain).pk, thumb="up")
    later = timezone.now() + runs.LEAVE_TIME * 2
    with time_machine.travel(later):
        assert opinions.missed_feedback_ids() == [given.pk]
        tasks.settle_missed()
        assert opinions.missed_feedback_ids() == []
        assert confidence(captain) == 0.515
        adjudicate(feedback=given, principal=bob, decision="reject")
        assert opinions.missed_feedback_ids() == [given.pk]


# --- approvals ---------------------------------------------------------------------------------------------


def test_a_rejected_approval_costs_a_tenth(ask: Ask, bob: Principal) -> None:
    approval = ask()
    services.reject(approval=approval, principal=bob, revision=1)
    for _ in range(2):
        tasks.settle_approval(str(approval.pk))
    assert confidence(approval.agent) == 0.4


def test_an_edited_approval_costs_a_twentieth(ask: Ask, bob: Principal) -> None:
    approval = ask()
    Approval.objects.update(revision=2)
    services.approve(approval=approval, principal=bob, revision=2)
    tasks.settle_approval(str(approval.pk))
    assert confidence(approval.agent) == 0.45


def test_an_approval_as_it_was_asked_moves_nothing(ask: Ask, bob: Principal) -> None:
    approval = ask()
    services.approve(approval=approval, principal=bob, revision=1)
    tasks.settle_approval(str(approval.pk))
    assert confidence(approval.agent) == 0.5


def test_a_decision_queues_its_counting(ask: Ask, bob: Principal, queued: Callable[[], list[tuple[str, str]]]) -> None:
    approval = ask()
    with TestCase.captureOnCommitCallbacks(execute=True):
        services.reject(approval=approval, principal=bob, revision=1)
    assert ("governance.maturity.tasks.settle_approval", str(approval.pk)) in queued()


def test_a_decision_that_nobody_was_told_of_is_found_by_the_sweep(ask: Ask, bob: Principal) -> None:
    approval = ask()
    services.reject(approval=approval, principal=bob, revision=1)
    with time_machine.travel(timezone.now() + runs.LEAVE_TIME * 2):
        tasks.settle_missed()
        assert opinions.missed_approval_ids() == []
    assert confidence(approval.agent) == 0.4


# --- the whole ---------------------------------------------------------------------------------------------


def test_what_was_applied_sums_up_to_the_confidence(captain: Agent, carol: Principal, bob: Principal) -> None:
    for status in (RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.FAILED):
        runs.settle_run(ended_run(captain, status, judged="read").pk)
    said(carol, captain, thumb="down")
    runs.rate_run(run=ended_run(captain, judged="update"), principal=bob, rating=3)
    total = ConfidenceChange.objects.aggregate(total=Sum("applied"))["total"]
    captain.refresh_from_db()
    assert captain.confidence == Decimal("0.5") + total
