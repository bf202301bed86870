"""How each upstream stands before it is asked: its breaker, and what is left of its rate."""

from collections.abc import Collection
from functools import cache
from uuid import UUID

from llm import rates
from llm.breaker import Circuit
from llm.messages import Request
from llm.ranking import Standing, needs_of
from llm.routing import Candidate, StandingOf


def circuit_of(workspace_id: UUID, candidate: Candidate) -> Circuit:
    return Circuit(workspace_id, candidate.provider, candidate.key_id, candidate.model)


def standings_of(workspace_id: UUID, request: Request, opened: Collection[Circuit]) -> StandingOf:
    """How a candidate stands for this request; `opened` are the breakers that let nothing through now."""

    @cache
    def tokens() -> int:
        return needs_of(request).total_tokens

    def standing_of(candidate: Candidate) -> Standing:
        circuit = circuit_of(workspace_id, candidate)
        return Standing(circuit not in opened, rates.left(circuit.key, tokens))

    return standing_of
