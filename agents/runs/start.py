"""Beginning, going on with, and stopping runs: what doors and upper rooms call."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import TypedDict
from uuid import UUID

import structlog

from agents import bindings, gate, variants
from agents.models import Agent, AgentStatus, QueuedTurn, Run, Session
from agents.parts import message_from, request_from_json
from agents.runs import journaled, records
from agents.runs.attempts import Served, decode
from agents.runs.events import Recorded
from agents.runs.history import history_of
from agents.runs.live import live
from agents.runs.runner import Runner
from agents.runs.streams import GATHER_S, RunLog, last_seq, used_of
from agents.runs.turn import Turn, hold_of, with_results
from agents.tools.declared import tools_of
from agents.tools.own import OwnTool
from atom.ground import journal, tokens
from atom.ground.database import in_db
from atom.ground.draining import is_draining
from atom.ground.errors import AgentPaused, AtomError, BadRequest, BlockedByPolicy, Conflict, NotFound, SessionBusy
from atom.ground.idempotency import Claim
from atom.ground.principal import Principal
from llm.events import Usage
from llm.messages import Message as ModelMessage
from llm.messages import Part, Request, Text, Tool
from llm.thinking import split
from llm.wires import Wire

log = structlog.get_logger(__name__)

# What an agent without a list of models, asked for none, is served by.
ANY_MODEL = "auto"
# The action that a turn of conversation is judged as.
CHAT = "chat"
# What the model is told when a conversation goes on without a new message.
GO_ON = "Go on from where you stopped."


class _Asked(TypedDict):
    """What a run's row says of who asked for it."""

    agent: Agent
    user_id: UUID | None
    token_id: UUID | None
    door: str
    model: str
    allowed_models: Collection[str] | None
    variant: UUID | None


def _asked(principal: Principal, agent: Agent, door: str, model: str, variant: variants.Variant | None) -> _Asked:
    return {
        "agent": agent,
        "user_id": principal.user_id,
        "token_id": principal.token_id,
        "door": door,
        "model": model,
        "allowed_models": principal.models,
        "variant": variant.id if variant else None,
    }


async def start_run(
    *,
    principal: Principal,
    agent: Agent,
    request: Request,
    parts: Sequence[Part],
    door: str,
    session: Session | None = None,
    is_background: bool = False,
    held: gate.Held | None = None,
    wire: Wire | None = None,
    claim: Claim | None = None,
    turning: records.Turning = records.PLAIN,
    may_wait: bool = False,
) -> Runner:
    """Judge the turn, open its run, and start it in this process.

    `held`: the run gives the client a call that waited for people, and asks no model. `wire`: it asks for something
    else than words, see `Turn`. `parts` is the user's message as it is kept; `request` all that the model is sent,
    without the agent's own prompt and tools. `may_wait`: nobody needs the run in the database at once. Raises
    AgentPaused, BlockedByPolicy, SessionBusy.
    """
    if agent.tools and request.answers > 1:
        raise BadRequest("An agent that runs tools gives one answer: n is 1.", param="n")
    await _may_act_as(principal, agent)
    may_wait = may_wait and session is None and held is None and journal.is_open()
    verdict = await _may_chat(principal, agent, may_wait=may_wait)
    named = split(request.model)
    request = replace(request, model=named.model, thinking=named.thinking or request.thinking)
    # Nobody tries a prompt on a call that asks no model, or not for words.
    variant = None if held or wire else await _variant(principal, agent, request, session)
    agent = variants.varied(agent, variant)
    if request.temperature is None:
        request = replace(request, temperature=agent.temperature)
    asked = _asked(principal, agent, door, request.model, variant)
    entries: list[journal.Entry] = []
    if may_wait:
        run = records.run_of(**asked)
        entries = [journaled.opened(run, parts), *([verdict.entry] if verdict.entry else [])]
    else:
        run = await in_db(records.open_run, **asked, parts=parts, session=session, claim=claim, turning=turning)
    own = await in_db(tools_of, agent) if agent.tools else {}
    turn = _turn(
        run, agent, own, _as_agent(agent, own, request), hold_s=principal.approval_hold_s, is_background=is_background
    )
    turn = replace(turn, held=held, wire=wire, is_journaled=may_wait)
    return await _launch(turn, RunLog(run.id, gather_s=GATHER_S if may_wait else 0.0), entries)


@dataclass(slots=True)
class Attached:
    """A run that goes on, or has ended, elsewhere; its events are in the store."""

    run_id: UUID
    served: Served
    own_tools: dict[str, OwnTool]
    created_at: datetime
    approval_hold_s: float
    session_id: UUID | None = None
    # Of a run whose events the store has forgotten: what the database keeps of them.
    past: Sequence[Recorded] = ()
    error: AtomError | None = None
    # Its answer has been given before: this is the same again.
    is_replayed: bool = False

    async def wait(self) -> None:
        """Nothing to wait for here."""

    async def look(self) -> None:
        """See who serves the run by now: its row says so at its end, the store until then."""
        self.served = (await in_db(attached, self.run_id)).served
        used = None if self.served.attempts else await used_of(self.run_id)
        if tried := decode(used) if used else []:
            last = tried[-1][1]
            self.served = Served(provider=last.provider, model=last.model, attempts=len(tried))


async def ask_again(
    *,
    principal: Principal,
    agent: Agent,
    request: Request,
    parts: Sequence[Part],
    door: str,
    approval_id: UUID,
    claim: Claim | None = None,
) -> "Runner | Attached":
    """Go on with a call that waited for people: the client's is given to it, for Atom's own its run is followed.

    Raises NotFound for an approval that is not about a call of this agent.
    """
    held = await gate.gate().held(principal.workspace_id, approval_id)
    if held is None or held.agent_id != agent.id:
        raise NotFound("There is no such approval.")
    if held.is_run_by_atom and held.run_id is not None:
        return await in_db(attached, held.run_id)
    return await start_run(
        principal=principal, agent=agent, request=request, parts=parts, door=door, held=held, claim=claim
    )


def attached(run_id: UUID) -> Attached:
    """The run, to be followed from its first event."""
    run = Run.objects.select_related("agent", "token").get(pk=run_id)
    served = Served(provider=run.provider, model=run.model, attempts=run.attempts)
    return Attached(run.id, served, tools_of(run.agent), run.created_at, hold_of(_hold_s(run)), run.session_id)


async def start_chat(
    *,
    principal: Principal,
    agent: Agent,
    session: Session,
    parts: Sequence[Part],
    door: str,
    model: str = "",
    is_background: bool = False,
    claim: Claim | None = None,
    turning: records.Turning = records.PLAIN,
) -> Runner:
    """The next turn of a conversation that Atom keeps."""
    history = await in_db(history_of, session)
    # Without parts the agent goes on by itself, which models take as a word from the user.
    messages = (*history, ModelMessage("user", tuple(parts) or (Text(GO_ON),)))
    return await start_run(
        principal=principal,
        agent=agent,
        request=Request(model=model or session.model or agents_choice(agent), messages=messages),
        parts=parts,
        door=door,
        session=session,
        is_background=is_background,
        claim=claim,
        turning=turning,
    )


async def _variant(
    principal: Principal, agent: Agent, request: Request, session: Session | None
) -> variants.Variant | None:
    """Only who leaves the model to the agent takes part: somebody's explicit choice is obeyed exactly."""
    if request.model != agents_choice(agent):
        return None
    session_id = session.id if session else None
    if variants.knows():
        return variants.choose(agent, session_id=session_id, user_id=principal.user_id)
    return await in_db(variants.choose, agent, session_id=session_id, user_id=principal.user_id)


def agents_choice(agent: Agent) -> str:
    """What a client names as the model to leave the choice to the agent."""
    return f"agent/{agent.slug}"


def _models(agent: Agent, model: str) -> tuple[str, ...]:
    """The agent's ordered list, unless the client chose a model itself."""
    if model != agents_choice(agent):
        return ()
    return tuple(str(name) for name in agent.models) or (ANY_MODEL,)


async def go_on(run_id: UUID) -> None:
    """Go on, in this process, with a run whose approvals are all decided; returns when it ends or parks again."""
    run, turn = await in_db(_parked_turn, run_id)
    runner = await _launch(turn, RunLog(run.id, seq=await last_seq(run.id)))
    await runner.wait()


async def _may_act_as(principal: Principal, agent: Agent) -> None:
    if bindings.is_recalled(principal):
        bindings.require_agent(principal, agent)
    else:
        await in_db(bindings.require_agent, principal, agent)


async def _may_chat(principal: Principal, agent: Agent, *, may_wait: bool = False) -> gate.Verdict:
    if agent.status != AgentStatus.ACTIVE:
        raise AgentPaused(f"The agent {agent.slug} is {agent.status}.")
    verdict = await gate.judge(
        gate.Action(
            workspace_id=agent.workspace_id,
            agent_id=agent.id,
            user_id=principal.user_id,
            name=CHAT,
            arguments={},
            may_wait=may_wait,
        )
    )
    if not verdict.is_allowed:
        raise BlockedByPolicy(verdict.reason)
    return verdict


def _as_agent(agent: Agent, own: dict[str, OwnTool], request: Request) -> Request:
    """The request with the agent's prompt before it and the agent's tools beside the client's."""
    prompt = [ModelMessage("system", (Text(agent.system_prompt),))] if agent.system_prompt else []
    tools = [Tool(tool.name, tool.description, tool.parameters) for tool in own.values()]
    theirs = [tool for tool in request.tools if tool.name not in own]
    return replace(request, messages=(*prompt, *request.messages), tools=(*tools, *theirs))


def _turn(
    run: Run, agent: Agent, own: dict[str, OwnTool], request: Request, *, hold_s: int | None, is_background: bool
) -> Turn:
    return Turn(
        run_id=run.id,
        created_at=run.created_at,
        workspace_id=run.workspace_id,
        agent_id=agent.id,
        user_id=run.user_id,
        token_id=run.token_id,
        session_id=run.session_id,
        request=request,
        own_tools=own,
        models=_models(agent, request.model),
        allowed=None if run.allowed_models is None else frozenset(run.allowed_models),
        is_background=is_background,
        approval_hold_s=hold_of(hold_s),
    )


async def _launch(turn: Turn, run_log: RunLog, entries: Sequence[journal.Entry] = ()) -> Runner:
    runner = Runner(turn, run_log)
    runner.task = await live().launch(runner, _run_then_next(runner), entries)
    return runner


async def _run_then_next(runner: Runner) -> None:
    await runner.run()
    if runner.session_id is not None and not is_draining():
        await start_queued(runner.session_id)


async def start_queued(session_id: UUID) -> Runner | None:
    """Begin the session's oldest queued turn, unless it is busy; None when there is nothing to begin."""
    turn = await in_db(_oldest_queued, session_id)
    if turn is None:
        return None
    try:
        principal = await in_db(tokens.principal_of_token, turn.token_id)
        return await start_chat(
            principal=principal,
            agent=turn.session.agent,
            session=turn.session,
            parts=message_from("user", turn.parts).parts,
            door=turn.door,
            is_background=True,
            turning=records.Turning(turn.id, is_queued=True, capability=turn.capability),
        )
    except SessionBusy:
        # Its end will begin the turn.
        return None
    except AtomError as exc:
        # It could not be begun now and will not be later: the agent is paused, the token is gone, a policy says no.
        log.warning("queued_turn_refused", session_id=str(session_id), code=exc.code)
        await in_db(turn.delete)
        return None


def _oldest_queued(session_id: UUID) -> QueuedTurn | None:
    return QueuedTurn.objects.filter(session_id=session_id).select_related("session__agent").first()


def _hold_s(run: Run) -> int | None:
    """How long the run's token lets its requests wait for people."""
    return run.token.approval_hold_seconds if run.token else None


def _parked_turn(run_id: UUID) -> tuple[Run, Turn]:
    run = Run.objects.select_related("agent", "token").get(pk=run_id)
    if run.parked is None:
        raise Conflict("This run does not wait for anything.")
    request = with_results(request_from_json(run.parked), records.parked_results(run))
    # People were asked in their own time: nobody needs to be listening now.
    agent = variants.varied(run.agent, variants.get(run.variant))
    turn = _turn(run, agent, tools_of(agent), request, hold_s=_hold_s(run), is_background=True)
    return run, replace(turn, before=_served(run), tried_before=run.tried.count(), is_continued=True)


def _served(run: Run) -> Served:
    """What a parked run's row says of the calls until then."""
    used = Usage(run.input_tokens, run.output_tokens, run.cached_tokens, run.reasoning_tokens)
    cost = run.cost_usd if run.attempts else Decimal(0)
    return Served(run.provider, run.model, run.attempts, used, cost, run.time_to_first_token_s)
