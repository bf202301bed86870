"""Several failures as the one error that the caller gets: who was asked, and why each did not answer."""

from collections.abc import Sequence
from dataclasses import dataclass

from llm.errors import AllFailed, BreakerOpen, LLMError, TimedOut
from llm.routing import Candidate


@dataclass(frozen=True, slots=True)
class Failure:
    candidate: Candidate
    streamed: bool
    error: LLMError

    @property
    def name(self) -> str:
        return f"{self.candidate.provider}/{self.candidate.model}"


def summed_up(failures: Sequence[Failure], *, is_too_late: bool) -> LLMError:
    """One error of the class that all have in common; TimedOut when the deadline has passed, else AllFailed.

    Open breakers count only when there is nothing else: they are not why the others failed.
    """
    real = [one for one in failures if not isinstance(one.error, BreakerOpen)] or failures
    if len(failures) == 1:
        return failures[0].error
    kinds = {type(one.error) for one in real}
    kind = TimedOut if is_too_late else kinds.pop() if len(kinds) == 1 else AllFailed
    waits = [one.error.retry_after_s for one in real if one.error.retry_after_s is not None]
    return kind(
        "No model answered. " + " ".join(f"{one.name}: {_why(one)}" for one in failures),
        details=[
            {
                "provider": one.candidate.provider,
                "model": one.candidate.model,
                "streamed": one.streamed,
                "code": one.error.code,
                "message": one.error.message,
            }
            for one in failures
        ],
        retry_after_s=min(waits) if waits and kind is not AllFailed else None,
    )


def _why(failure: Failure) -> str:
    return failure.error.message if failure.streamed else f"{failure.error.message[:-1]}, also without streaming."
