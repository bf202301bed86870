"""What of a feedback counts as evidence about its agent."""

from dataclasses import dataclass
from uuid import UUID

from feedback.models import Feedback, Part


@dataclass(frozen=True, slots=True)
class Evidence:
    """What of a feedback counts about its agent, now: an accepted opinion (`positive`, `neutral`, `negative`), an
    accepted correction."""

    agent_id: UUID
    user_id: UUID | None
    opinion: str = ""
    is_corrected: bool = False

    @property
    def is_any(self) -> bool:
        return bool(self.opinion) or self.is_corrected


def evidence_in(given: Feedback) -> Evidence:
    return Evidence(
        agent_id=given.agent_id,
        user_id=given.user_id,
        opinion=given.get_sentiment() if given.is_accepted(Part.OPINION) else "",
        is_corrected=given.is_accepted(Part.CORRECTION),
    )
