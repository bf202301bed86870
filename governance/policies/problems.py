"""What is wrong with a policy, and where."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from atom.ground.errors import BadRequest


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One mistake: its line and column (both from 1) in the document's text, its path in the document, the reason."""

    line: int
    column: int
    path: str
    message: str


class PolicyRefused(BadRequest):
    """A policy that is not saved or not activated; `details` lists every problem with its place."""

    code = "invalid_policy"

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = sorted(problems)
        first = self.problems[0]
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        message = f"Line {first.line}, column {first.column}: {first.message}{more}"
        super().__init__(message, param="document", details=[asdict(problem) for problem in self.problems])
