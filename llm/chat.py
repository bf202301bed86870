"""One model call: whom to ask, in which order, and whom next while nothing has been said yet."""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from decimal import Decimal
from uuid import UUID

import structlog
from django.conf import settings

from atom.ground.database import in_db_once
from atom.ground.errors import AtomError, ModelNotAllowed, ModelNotFound
from llm import breaker, catalog, cooldown, keyring, retries, routing, spending
from llm.attempts import Attempt, Turn, ask, passed_over, probe_s
from llm.breaker import Permit
from llm.catalog import Catalog
from llm.cooldown import Rest
from llm.errors import BreakerOpen, KeyRefused, LLMError, NoProvider, RateLimited, TimedOut
from llm.events import Event, Usage
from llm.failures import Failure, summed_up
from llm.keyring import OpenKey
from llm.messages import Request
from llm.routing import Allowed, Candidate, StandingOf
from llm.spending import Hold, Purse
from llm.standing import circuit_of, standings_of
from llm.sticky import ServedBy
from llm.wires import Wire

log = structlog.get_logger(__name__)

# With less time than this left, asking once more would only be late.
LEAST_S = 0.05
# Failures that are the key's own, and say nothing about the next key.
KEYS_OWN = (KeyRefused, RateLimited)


class Call:
    """A call in progress. `models` is whom to ask, in order: `provider/model`, a bare id, or `auto`.

    Without `models` it is `request.model` alone, as the caller named it, and nobody else. `allowed`, if given, are
    the only models that may serve, whatever the names mean: `provider/model` each. Once events flow,
    `provider` and `model` say who serves. `attempts` counts the upstream calls made; `tried` says how each
    candidate's turn ended, also of those that were passed over. `purse` is asked before each call that costs money.
    `prefer` is who served the conversation before: whom `auto` asks first, with the same key, while that is healthy
    and up to the task; `served` is who serves now.
    `wire` is spoken instead of the candidate's own.
    """

    def __init__(
        self,
        *,
        workspace_id: UUID,
        request: Request,
        models: Sequence[str] = (),
        allowed: Allowed = None,
        purse: Purse | None = None,
        prefer: ServedBy | None = None,
        wire: Wire | None = None,
    ) -> None:
        self.provider = ""
        self.model = ""
        self.attempts = 0
        self.tried: list[Attempt] = []
        self.served: ServedBy | None = None
        self._prefer = prefer
        self._workspace_id = workspace_id
        self._request = request
        self._purse = purse
        self._wire = wire
        self._models = tuple(models) or (request.model,)
        self._allowed = allowed
        self._order: list[Candidate] = []
        # Those of the order whose keys rest by our own guess: they come last.
        self._resting: list[Candidate] = []
        self._failures: list[Failure] = []
        # Upstreams asked in this call, with what they failed with last.
        self._asked: dict[str, LLMError | None] = {}
        self._is_repeated = False
        self._turn: Turn | None = None
        self._end = 0.0

    async def events(self) -> AsyncGenerator[Event, None]:
        """Deltas as they come, then exactly one `Finished`. Raises ModelNotFound, NoProvider or another LLMError.

        Each candidate is streamed once, in order, until one begins to answer. If none does, one of them is asked
        once more without streaming, with what is left of the deadline. After the first event a failure is raised:
        what a reader has seen cannot be taken back.
        """
        await self._choose()
        for candidate, streamed in self._plan():
            called, has_begun = self.attempts, False
            try:
                async with aclosing(self._ask(candidate, streamed=streamed)) as answer:
                    async for event in answer:
                        has_begun = True
                        yield event
            except LLMError as exc:
                self._failed(Failure(candidate, streamed, exc), was_called=self.attempts > called)
                if has_begun or not exc.retryable or not settings.AGENT_FALLBACK_ENABLED:
                    raise
            else:
                return
        raise summed_up(self._failures, is_too_late=self._left_s() <= LEAST_S)

    @property
    def used(self) -> Usage | None:
        """What the one who answers now has said of tokens so far."""
        return None if self._turn is None else self._turn.meter.usage

    def so_far(self) -> list[Attempt]:
        """`tried`, and the one who answers now as if it were left now."""
        return self.tried if self._turn is None else [*self.tried, self._turn.attempt()]

    # --- Whom ----------------------------------------------------------------------------------------------
    async def _choose(self) -> None:
        known = _recalled(self._workspace_id)
        if known is None:
            known = await in_db_once(_read, self._workspace_id)
        keys, own = known
        opened = await breaker.opened(self._workspace_id)
        found = candidates_of(
            keyring.in_turn(keys, prefer=self._prefer.key_id if self._prefer else None),
            self._models,
            request=self._request,
            own=own,
            standing_of=standings_of(self._workspace_id, self._request, opened),
            prefer=self._preferred(),
            allowed=self._allowed,
        )
        # At once, so that two calls that choose at the same time do not choose the same key.
        keyring.take_turn(found[0].key_id)
        self._end = asyncio.get_running_loop().time() + found[0].endpoint.deadlines.total_s
        names = [cooldown.name_of(one.provider, one.key_id) for one in found]
        resting = await cooldown.rests(names)
        for name, candidate in zip(names, found, strict=True):
            rest = resting.get(name)
            if rest is None:
                self._order.append(candidate)
            elif not rest.is_told:
                self._resting.append(candidate)
            else:
                self._failed(Failure(candidate, True, _resting(candidate, rest)), was_called=False)
        self._order += self._resting

    def _preferred(self) -> str | None:
        """The model that served before, when the same was asked for then."""
        was = self._prefer
        return f"{was.provider}/{was.model}" if was is not None and was.models == self._models else None

    def _plan(self) -> Iterator[tuple[Candidate, bool]]:
        """Whom to ask next, and whether as a stream; looks at what has become of those before."""
        for candidate in self._order:
            yield candidate, True
        for candidate in self._order:
            if self._is_repeated or self._left_s() <= LEAST_S:
                return
            if not self._is_refused(candidate):
                yield candidate, False

    def _is_refused(self, candidate: Candidate) -> bool:
        """A key that was just refused or limited is not asked the same again."""
        return any(one.candidate is candidate and isinstance(one.error, KEYS_OWN) for one in self._failures)

    def _failed(self, failure: Failure, *, was_called: bool) -> None:
        """Keep why a candidate did not answer."""
        candidate, error = failure.candidate, failure.error
        if was_called:
            log.warning(
                "model_call_failed",
                provider=candidate.provider,
                model=candidate.model,
                code=error.code,
                streamed=failure.streamed,
                attempts=self.attempts,
                seconds_left=round(self._left_s(), 1),
            )
        elif not failure.streamed:
            # That it is not even repeated is no news beside why its stream failed.
            return
        else:
            self.tried.append(passed_over(failure))
        self._failures.append(failure)

    # --- Asking --------------------------------------------------------------------------------------------
    async def _ask(self, candidate: Candidate, *, streamed: bool) -> AsyncGenerator[Event, None]:
        """One attempt, if the deadline, the budget of repetitions and the breaker let it go out."""
        request = routing.fitted(self._request, candidate)
        limits = candidate.endpoint.deadlines
        if self._left_s() <= LEAST_S:
            raise TimedOut(f"{candidate.provider} was not asked any more: {limits.total_s:g} s had passed.")
        upstream = self._upstream_of(candidate)
        hold = await self._reserve(candidate, request)
        try:
            permit = await self._admitted(candidate, streamed=streamed)
        except LLMError:
            if hold is not None:
                await hold.settle(Decimal(0))
            raise
        self._is_repeated = not streamed
        keyring.take_turn(candidate.key_id)
        self.provider, self.model = candidate.provider, candidate.model
        self.served = ServedBy(self._models, candidate.provider, candidate.model, candidate.key_id)
        self.attempts += 1
        self._asked[upstream] = None
        self._turn = turn = Turn(
            candidate, permit, hold, self._workspace_id, streamed=streamed, was_resting=candidate in self._resting
        )
        try:
            async with aclosing(ask(turn, request, left_s=self._left_s(), tried=self.tried, wire=self._wire)) as answer:
                async for event in answer:
                    yield event
        except LLMError as exc:
            self._asked[upstream] = exc
            raise
        finally:
            self._turn = None

    async def _reserve(self, candidate: Candidate, request: Request) -> Hold | None:
        """Money for the call, when it costs any. What a model without a price will cost nobody can set aside."""
        if self._purse is None:
            return None
        provider, model = candidate.provider, candidate.model
        estimate = spending.estimate_usd(provider, model, request, workspace_id=self._workspace_id)
        return None if estimate == 0 else await self._purse.reserve(f"{provider}/{model}", estimate or Decimal(0))

    async def _admitted(self, candidate: Candidate, *, streamed: bool) -> Permit | None:
        """Leave of the budget of repetitions and of the breaker for one call, paid for; or BreakerOpen."""
        upstream = self._upstream_of(candidate)
        # After a key's own refusal, the next key is no repetition of the same.
        is_again = upstream in self._asked and not isinstance(self._asked[upstream], KEYS_OWN)
        if is_again and not await retries.take_out(upstream):
            raise BreakerOpen(f"{candidate.provider} fails too often to be asked again.")
        try:
            permit = await breaker.admit(
                circuit_of(self._workspace_id, candidate),
                probe_s=probe_s(candidate.endpoint.deadlines),
                only_closed=not streamed,
            )
        except BreakerOpen:
            if is_again:
                retries.pay_in(upstream, retries.PRICE)
            raise
        if not is_again:
            retries.pay_in(upstream)
        return permit

    def _upstream_of(self, candidate: Candidate) -> str:
        """Whose patience is tried by a call; behind the environment's key all workspaces meet the same upstream."""
        owner = circuit_of(self._workspace_id, candidate).owner
        return f"{owner}:{candidate.provider}:{candidate.endpoint.base_url}"

    def _left_s(self) -> float:
        return self._end - asyncio.get_running_loop().time()


def _recalled(workspace_id: UUID) -> tuple[tuple[OpenKey, ...], Catalog] | None:
    keys, own = keyring.recalled(workspace_id), catalog.recalled(workspace_id)
    return None if keys is None or own is None else (keys, own)


def _read(workspace_id: UUID) -> tuple[tuple[OpenKey, ...], Catalog]:
    return keyring.open_keys(workspace_id), catalog.catalog_of(workspace_id)


def candidates_of(
    keys: Sequence[OpenKey],
    models: Sequence[str],
    *,
    request: Request | None = None,
    own: Catalog = catalog.EMPTY,
    allowed: Allowed = None,
    standing_of: StandingOf | None = None,
    prefer: str | None = None,
) -> list[Candidate]:
    """Whom these names mean, in order, each once, those that are down last; what is not known, not allowed or not
    configured is left out.

    Raises what was wrong with the first name when nothing is left.
    """
    found: dict[tuple[str, str, UUID | None], Candidate] = {}
    refusal: AtomError | None = None
    for model in models:
        try:
            chosen = routing.choose(
                keys, model, request=request, catalog=own, standing_of=standing_of, prefer=prefer, allowed=allowed
            )
        except (ModelNotFound, ModelNotAllowed, NoProvider) as exc:
            refusal = refusal or exc
            continue
        if routing.goal_of(routing.meaning(model, own)[0]) is not None:
            chosen = sorted(chosen, key=lambda one: (not routing.is_preferred(one, prefer), _place(one)))
        for one in chosen:
            found.setdefault((one.provider, one.model, one.key_id), one)
    if not found:
        raise refusal or NoProvider("No model was named.")
    order = list(found.values())
    return order if standing_of is None else sorted(order, key=lambda one: standing_of(one).is_down)


def _place(candidate: Candidate) -> int:
    """Where AGENT_FALLBACK_ORDER has the provider; those it does not name keep their order, at the end."""
    order = settings.AGENT_FALLBACK_ORDER
    return order.index(candidate.provider) if candidate.provider in order else len(order)


def _resting(candidate: Candidate, rest: Rest) -> RateLimited | KeyRefused:
    """What the key was told to rest for, so that a refusal does not become a limit while it lasts."""
    wait = f"asked for {rest.left_s} s more without calls"
    if rest.is_refused:
        return KeyRefused(f"{candidate.provider} refused the key and {wait}.", retry_after_s=rest.left_s)
    return RateLimited(f"{candidate.provider} {wait}.", retry_after_s=rest.left_s)
