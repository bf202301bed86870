"""The default matrix: how far an agent is trusted, by how complex the action is → what happens."""

from dataclasses import dataclass

from agents.gate import Decision
from agents.models import Maturity
from governance.catalogue import Assessment, words_of

POLICY_VERSION = "default-1"
# Guardrails: how often, how much money a day; and, of what the matrix allows, how large a transfer, how many deletions.
RATE, SPEND, TRANSFER, BATCH = "guardrail:rate", "guardrail:spend", "guardrail:transfer", "guardrail:batch"
BOUNDS_OF_MATRIX = (TRANSFER, BATCH)
# How rules begin in which no policy has a say.
ABOVE_POLICIES = ("agent-", "kill-switch", "delegation:", "supervision-required", RATE, SPEND)

_ALLOW, _WATCH, _ASK, _DENY = Decision.ALLOW, Decision.WATCH, Decision.ASK, Decision.DENY
# A row's cells stand for the complexities 1 to 4.
MATRIX: dict[Maturity, tuple[Decision, Decision, Decision, Decision]] = {
    Maturity.STUDENT: (_ALLOW, _ASK, _DENY, _DENY),
    Maturity.INTERN: (_ALLOW, _ALLOW, _ASK, _ASK),
    Maturity.SUPERVISED: (_ALLOW, _ALLOW, _WATCH, _ASK),
    Maturity.AUTONOMOUS: (_ALLOW, _ALLOW, _ALLOW, _ALLOW),
}
WHO: dict[Maturity, str] = {
    Maturity.STUDENT: "a student",
    Maturity.INTERN: "an intern",
    Maturity.SUPERVISED: "a supervised agent",
    Maturity.AUTONOMOUS: "an autonomous agent",
}


@dataclass(frozen=True, slots=True)
class Ruling:
    """What a policy or the matrix says of one action, and the sentence for people.

    `is_error`: it could not be judged, which denies. `quorum` and `four_eyes` are about the approval, if it asks.
    """

    decision: Decision
    required_maturity: Maturity
    rule: str
    reason: str
    policy_version: str = POLICY_VERSION
    quorum: int = 1
    four_eyes: bool = False
    is_error: bool = False


def required_maturity(complexity: int) -> Maturity:
    """The lowest level that may do this without asking anybody."""
    return next(level for level, cells in MATRIX.items() if cells[complexity - 1] in {_ALLOW, _WATCH})


def rule(maturity: Maturity, action: str, assessment: Assessment) -> Ruling:
    """Look the action up."""
    decision = MATRIX[maturity][assessment.complexity - 1]
    needed = required_maturity(assessment.complexity)
    return Ruling(
        decision=decision,
        required_maturity=needed,
        rule=f"matrix:{maturity}:{assessment.complexity}",
        reason=_reason(decision, WHO[maturity].capitalize(), " ".join(words_of(action)) or action, WHO[needed])
        + ("" if assessment.is_known else " This is an unknown action, so it counts as a change."),
    )


def _reason(decision: Decision, who: str, what: str, needed: str) -> str:
    match decision:
        case Decision.ALLOW:
            return f"{who} may {what}."
        case Decision.WATCH:
            return f"{who} may {what} while people can watch and stop it."
        case Decision.ASK:
            return f"{who} may {what} only after a person has approved it."
        case Decision.DENY:
            return f"{who} may not {what}; this needs {needed}."
