"""The worked example of docs/maturity.md, done."""

from pathlib import Path

from agents.models import Agent
from atom.ground.principal import Principal
from governance.maturity import proposals
from governance.maturity.readiness import Evidence, evidence_of
from tests.governance.maturity.conftest import reviewed_actions, runs_that_went_well

PAGE = Path(__file__).parents[3] / "docs" / "maturity.md"
KINDS = ("draft", "suggest", "plan", "propose", "generate")


def told(evidence: Evidence) -> list[str]:
    return [f"| {found.name} | {found.sentence} |" for found in evidence.criteria]


def test_the_worked_example_is_what_happens(student: Agent, bob: Principal) -> None:
    page = PAGE.read_text()
    runs_that_went_well(student, 12)
    reviewed_actions(student, bob, *KINDS)
    student.refresh_from_db()
    for line in told(evidence_of(student)):
        assert line in page, line
    assert proposals.consider(student.pk) is None
    runs_that_went_well(student, 18)
    reviewed_actions(student, bob, *KINDS * 5)
    student.refresh_from_db()
    for line in told(evidence_of(student)):
        assert line in page, line
    assert proposals.consider(student.pk) is not None
