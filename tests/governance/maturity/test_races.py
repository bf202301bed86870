"""Many at once, on real row locks."""

from collections.abc import Callable
from decimal import Decimal
from uuid import uuid4

import pytest

from agents.models import Agent
from atom.ground.errors import Conflict
from atom.ground.models import AuditEntry
from atom.ground.principal import Principal
from feedback.services import give_feedback
from governance.judging import judge_action
from governance.maturity import levels, opinions, proposals, runs, tasks, triggers
from governance.maturity.confidence import Cause, apply_change
from governance.models import (
    ConfidenceChange,
    ConfidenceEvent,
    Decision,
    LevelChange,
    RunEvidence,
    Source,
    TrainingTask,
    TriggeredRun,
)
from tests.governance.conftest import action_of
from tests.governance.maturity.conftest import ended_run, reviewed_actions, runs_that_went_well
from tests.governance.test_races import MANY, all_at_once

pytestmark = [pytest.mark.postgres, pytest.mark.django_db(transaction=True)]


def test_of_32_changes_none_is_lost(student: Agent) -> None:
    def change() -> bool:
        cause = Cause(ConfidenceEvent.RUN_SUCCEEDED, Decimal("0.01"), "well", Source.RUN, uuid4())
        return apply_change(student.pk, cause) is not None

    assert all_at_once(change) == {True: MANY}
    student.refresh_from_db()
    assert student.confidence == Decimal("0.82")
    assert ConfidenceChange.objects.count() == MANY


def test_at_the_upper_end_the_rows_still_sum_up(student: Agent) -> None:
    def change() -> bool:
        cause = Cause(ConfidenceEvent.RUN_SUCCEEDED, Decimal("0.05"), "well", Source.RUN, uuid4())
        return apply_change(student.pk, cause) is not None

    all_at_once(change)
    student.refresh_from_db()
    assert student.confidence == 1
    assert sum(row.applied for row in ConfidenceChange.objects.all()) == Decimal("0.5")


def test_one_run_told_32_times_counts_once(captain: Agent) -> None:
    run = ended_run(captain)
    all_at_once(lambda: tasks.settle_run(str(run.pk)))
    assert RunEvidence.objects.count() == 1
    captain.refresh_from_db()
    assert captain.confidence == Decimal("0.51")


def test_of_32_thumbs_at_once_three_count(captain: Agent, carol: Principal) -> None:
    given = [give_feedback(principal=carol, run_id=ended_run(captain).pk, thumb="up") for _ in range(MANY)]
    left = iter(given)
    all_at_once(lambda: opinions.settle_feedback(next(left).pk) is not None)
    captain.refresh_from_db()
    assert captain.confidence == Decimal("0.515")


def test_of_32_judgements_as_many_pass_as_the_guardrail_says(captain: Agent) -> None:
    for _ in range(50):
        judge_action(action_of(captain, "update"))
    assert all_at_once(lambda: str(judge_action(action_of(captain, "update")).decision)) == {"allow": 10, "ask": 22}
    assert LevelChange.objects.count() == 1
    captain.refresh_from_db()
    assert (captain.maturity, captain.confidence) == ("supervised", Decimal("0.3"))


def test_of_32_promotions_one_moves_the_agent(student: Agent, bob: Principal) -> None:
    runs_that_went_well(student, 30)
    reviewed_actions(student, bob, *("draft", "suggest", "plan", "propose", "generate") * 6)

    def promote() -> str:
        try:
            return proposals.promote(agent=student, principal=bob, to="intern", reason="earned").maturity
        except Conflict:
            return "too late"

    assert all_at_once(promote) == {"intern": 1, "too late": MANY - 1}
    assert AuditEntry.objects.filter(event="agent.promoted").count() == 1


def test_32_considerations_propose_once(student: Agent, bob: Principal) -> None:
    runs_that_went_well(student, 30)
    reviewed_actions(student, bob, *("draft", "suggest", "plan", "propose", "generate") * 6)
    assert all_at_once(lambda: proposals.consider(student.pk) is not None) == {True: 1, False: MANY - 1}


def test_32_blocked_attempts_are_one_task(student: Agent) -> None:
    all_at_once(lambda: str(judge_action(action_of(student)).decision))
    assert TrainingTask.objects.get().times == MANY
    assert Decision.objects.count() == MANY


def test_after_a_demotion_no_judgement_says_yes(captain: Agent, bob: Principal) -> None:
    levels.demote(agent=captain, principal=bob, to="student", reason="x")
    assert all_at_once(lambda: str(judge_action(action_of(captain)).decision)) == {"deny": MANY}


def test_of_32_workers_one_claims_a_triggered_run(captain: Agent, carol: Principal, store: object) -> None:
    wish: TriggeredRun = triggers.request_run(agent=captain, principal=carol, trigger="event", message="go")
    # Nobody is left to run it for, so that the claim is all there is to see.
    TriggeredRun.objects.update(requested_by=None)
    all_at_once(lambda: triggers.start(wish.pk))
    assert TriggeredRun.objects.get().tries == 1


def test_runs_judged_while_others_are_counted_do_not_deadlock(captain: Agent, carol: Principal) -> None:
    run = ended_run(captain)
    given = give_feedback(principal=carol, run_id=run.pk, thumb="up")
    work: list[Callable[[], object]] = [
        lambda: judge_action(action_of(captain, "update")),
        lambda: runs.settle_run(run.pk),
        lambda: opinions.settle_feedback(given.pk),
        lambda: give_feedback(principal=carol, run_id=run.pk, thumb="down"),
    ]
    turns = iter(work * (MANY // len(work)))
    assert all_at_once(lambda: next(turns)() is not None or True) == {True: MANY}
