"""What a run is to do, and what can be said of it before it begins."""

from dataclasses import dataclass, field, replace
from datetime import datetime
from uuid import UUID

from django.conf import settings
from django.utils import timezone

from agents import gate
from agents.runs.attempts import Served
from agents.tools.own import OwnTool
from atom.ground.errors import AtomError
from llm.messages import Message, Request, ToolResult
from llm.wires import Wire


class TooManyRounds(AtomError):
    code = "too_many_tool_rounds"
    status = 502


def hold_of(wanted_s: int | None) -> float:
    """How long a request waits for an approval: as its token says, else as the installation does."""
    default_s: float = settings.ATOM_APPROVAL_HOLD
    return default_s if wanted_s is None else float(wanted_s)


@dataclass(frozen=True, slots=True)
class Turn:
    """What a run is to do. Tools in `own_tools` are run by Atom, others of the request by the client."""

    run_id: UUID
    workspace_id: UUID
    agent_id: UUID
    user_id: UUID | None
    request: Request
    own_tools: dict[str, OwnTool] = field(default_factory=dict)
    # Whom to ask, in order, where the agent chooses; empty when the client named the model itself.
    models: tuple[str, ...] = ()
    # The only ones that its token may use, as `provider/model`; None: all.
    allowed: frozenset[str] | None = None
    is_background: bool = False
    # Of a run that was parked: what stands in its row already.
    before: Served = field(default_factory=Served)
    tried_before: int = 0
    # People may have wanted something of it while no process had it.
    is_continued: bool = False
    token_id: UUID | None = None
    session_id: UUID | None = None
    created_at: datetime = field(default_factory=timezone.now)
    # Not a new question to the model, but the answer to a call of an earlier one that waited for people.
    held: gate.Held | None = None
    # How the provider is asked, where it is not for an answer in words.
    wire: Wire | None = None
    # How long a call that the client runs is held for people before it is answered as pending.
    approval_hold_s: float = field(default_factory=lambda: hold_of(None))
    # Its row is written through the journal, and may not be there yet.
    is_journaled: bool = False

    @property
    def spender(self) -> gate.Spender:
        return gate.Spender(
            workspace_id=self.workspace_id,
            agent_id=self.agent_id,
            run_id=self.run_id,
            token_id=self.token_id,
            session_id=self.session_id,
        )


class Parked(Exception):  # not an error: the run waits in the database
    """The run waits for approvals; whoever decides the last one goes on with it."""


def with_results(request: Request, results: list[ToolResult]) -> Request:
    """The request with the results of its last calls that it does not have yet."""
    known = {part.call_id for message in request.messages for part in message.parts if isinstance(part, ToolResult)}
    fresh = tuple(Message("tool", (result,)) for result in results if result.call_id not in known)
    return replace(request, messages=(*request.messages, *fresh))
