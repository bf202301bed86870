"""What people say of an agent: confidence follows what stands now, and a level that it speaks against waits."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.utils import timezone

from agents.models import Agent
from atom.ground.errors import Conflict
from atom.ground.principal import Principal
from feedback.models import Feedback, Thumb
from feedback.services import adjudicate, change_feedback, give_feedback, withdraw_feedback
from governance.maturity import opinions, proposals, runs, tasks
from governance.maturity.readiness import evidence_of
from tests.governance.maturity.conftest import confidence, ended_run, reviewed_actions, runs_that_went_well

KINDS = ("draft", "suggest", "plan", "propose", "generate")


@pytest.fixture
def ready(student: Agent, bob: Principal) -> Agent:
    """A student for whose promotion everything speaks."""
    runs_that_went_well(student, 30)
    reviewed_actions(student, bob, *KINDS * 6)
    return student


def say(principal: Principal, agent: Agent, **words: Any) -> Feedback:
    return give_feedback(principal=principal, run_id=ended_run(agent).pk, **words)


def thumbs(agent: Agent, principal: Principal, ups: int, downs: int) -> None:
    for thumb in [Thumb.UP] * ups + [Thumb.DOWN] * downs:
        say(principal, agent, thumb=thumb)


def test_a_change_of_mind_counts_as_what_is_meant_now(captain: Agent, carol: Principal) -> None:
    given = say(carol, captain, thumb="up")
    for words, after in (({"thumb": "down"}, 0.49), ({"rating": 1}, 0.49), ({"thumb": "up"}, 0.505)):
        opinions.settle_feedback(given.pk)
        change_feedback(feedback=given, principal=carol, **words)
        opinions.settle_feedback(given.pk)
        assert confidence(captain) == after


def test_what_is_withdrawn_counts_no_longer(captain: Agent, carol: Principal) -> None:
    given = say(carol, captain, thumb="down")
    opinions.settle_feedback(given.pk)
    assert confidence(captain) == 0.49
    withdraw_feedback(feedback=given, principal=carol)
    opinions.settle_feedback(given.pk)
    assert confidence(captain) == 0.5


@pytest.mark.parametrize(("keep", "after"), [("opinion", 0.49), ("correction", 0.4)])
def test_of_a_split_only_the_kept_part_counts(
    captain: Agent, carol: Principal, bob: Principal, keep: str, after: float
) -> None:
    given = say(carol, captain, thumb="down", correction="no, 42")
    adjudicate(feedback=given, principal=bob, decision="accept")
    opinions.settle_feedback(given.pk)
    assert confidence(captain) == 0.39
    adjudicate(feedback=given, principal=bob, decision="split", keep=keep)
    opinions.settle_feedback(given.pk)
    assert confidence(captain) == after


def test_the_sweep_finds_every_change_that_was_not_counted(captain: Agent, carol: Principal, bob: Principal) -> None:
    given = say(carol, captain, thumb="up", correction="no, 42")
    changes: list[tuple[Callable[[], object], float]] = [
        (lambda: adjudicate(feedback=given, principal=bob, decision="split", keep="opinion"), 0.505),
        (lambda: adjudicate(feedback=given, principal=bob, decision="split", keep="correction"), 0.4),
        (lambda: adjudicate(feedback=given, principal=bob, decision="accept"), 0.405),
        (lambda: change_feedback(feedback=given, principal=carol, thumb="down"), 0.5),
        (lambda: adjudicate(feedback=given, principal=bob, decision="accept"), 0.39),
        (lambda: withdraw_feedback(feedback=given, principal=carol), 0.5),
    ]
    with time_machine.travel(timezone.now() + runs.LEAVE_TIME * 2):
        tasks.settle_missed()
        before = confidence(captain) - 0.5
        for change, after in changes:
            change()
            assert opinions.missed_feedback_ids() == [given.pk]
            tasks.settle_missed()
            assert opinions.missed_feedback_ids() == []
            assert confidence(captain) == pytest.approx(after + before)


def test_ten_words_that_speak_against_a_level_hold_it_back(ready: Agent, bob: Principal, carol: Principal) -> None:
    assert evidence_of(ready).holds
    thumbs(ready, carol, 6, 3)
    assert evidence_of(ready).holds, "nine say nothing yet"
    thumbs(ready, carol, 0, 1)
    evidence = evidence_of(ready)
    assert (evidence.holds, all(criterion.holds for criterion in evidence.criteria)) == (False, True)
    assert proposals.consider(ready.pk) is None
    with pytest.raises(Conflict) as refused:
        proposals.promote(agent=ready, principal=bob, to="intern", reason="")
    assert refused.value.details == {"feedback": "60% of the feedback is positive; 75% must be."}
    thumbs(ready, carol, 10, 0)
    assert evidence_of(ready).holds


def test_accepted_corrections_speak_however_few_they_are(ready: Agent, bob: Principal, carol: Principal) -> None:
    for _ in range(6):
        adjudicate(feedback=say(carol, ready, correction="no, 42"), principal=bob, decision="accept")
    assert evidence_of(ready).missing == {"feedback": "6 corrections were accepted; at most 5 may be."}


def test_words_of_more_than_a_month_ago_do_not_speak(ready: Agent, carol: Principal) -> None:
    thumbs(ready, carol, 0, 10)
    Feedback.objects.update(created_at=timezone.now() - timedelta(days=31))
    assert evidence_of(ready).holds


def test_a_proposal_carries_what_people_said(ready: Agent, carol: Principal) -> None:
    thumbs(ready, carol, 10, 1)
    proposed = proposals.consider(ready.pk)
    assert proposed is not None
    said = proposed.evidence["feedback"]
    assert (said["total"], said["positive"], round(said["interval"]["low"], 3)) == (11, 10, 0.623)


def test_words_that_speak_against_the_level_held_propose_the_one_below(captain: Agent, carol: Principal) -> None:
    runs_that_went_well(captain, 20)
    assert proposals.consider(captain.pk) is None
    thumbs(captain, carol, 8, 2)
    proposed = proposals.consider(captain.pk)
    assert proposed is not None
    assert (proposed.to, proposed.evidence["reasons"]) == (
        "supervised",
        ["80% of the feedback is positive; 90% must be."],
    )
    assert proposed.evidence["feedback"]["negative"] == 2
