"""A circuit breaker for each provider, key and model, shared by all processes through the store.

Five consecutive failures open it; after ATOM_BREAKER_OPEN seconds it is half open and lets one probe through at a
time; two successes close it. Each change of state begins a new generation, and a result of an older one is ignored.
Without the store there is no breaker, and calls go on.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias
from uuid import UUID

import orjson
import redis.asyncio
from django.conf import settings

from atom.ground.together import together
from llm.errors import BreakerOpen
from llm.shared import asked, run_script

Verdict: TypeAlias = Literal["succeeded", "failed", "left"]
State: TypeAlias = Literal["closed", "open", "half_open"]

FAILURES_TO_OPEN = 5
SUCCESSES_TO_CLOSE = 2
# What nobody has used for a day is forgotten, and so closed.
KEEP_S = 86_400
# The owner of breakers around the environment's keys, which belong to no workspace.
ENVIRONMENT = "environment"
# For so long a process remembers which breakers are open. It only says whom to ask last: each call that goes out
# needs the leave of the breaker itself.
REMEMBER_S = 0.1
REMEMBER_MOST = 10_000

# May a call go out? Gives {admitted, generation, is a probe, ms until the next probe}. The store's clock counts.
_ADMIT = """
local now = redis.call('TIME')
local ms = now[1] * 1000 + math.floor(now[2] / 1000)
local state, generation, opened_at, probe_until = unpack(
    redis.call('HMGET', KEYS[1], 'state', 'generation', 'opened_at', 'probe_until'))
generation = tonumber(generation) or 0
if not state or state == 'closed' then return {1, generation, 0, 0} end
local wait = tonumber(opened_at) + tonumber(ARGV[1]) - ms
if state == 'open' and wait > 0 then return {0, generation, 0, wait} end
if ARGV[3] == '1' then return {0, generation, 0, 0} end
if state == 'half_open' and (tonumber(probe_until) or 0) > ms then return {0, generation, 0, 0} end
if state == 'open' then redis.call('HSET', KEYS[1], 'state', 'half_open', 'successes', 0) end
redis.call('HSET', KEYS[1], 'generation', generation + 1, 'probe_until', ms + tonumber(ARGV[2]))
return {1, generation + 1, 1, 0}
"""

# How an admitted call ended. KEYS: the breaker, its owner's index.
_RECORD = """
local now = redis.call('TIME')
local ms = now[1] * 1000 + math.floor(now[2] / 1000)
local generation = tonumber(redis.call('HGET', KEYS[1], 'generation')) or 0
if generation ~= tonumber(ARGV[1]) then return 'stale' end
local state = redis.call('HGET', KEYS[1], 'state') or 'closed'
local verdict = ARGV[2]
local function open()
    redis.call('HSET', KEYS[1], 'state', 'open', 'opened_at', ms, 'generation', generation + 1, 'failures', 0)
    redis.call('HDEL', KEYS[1], 'probe_until')
    state = 'open'
end
if state == 'half_open' then
    redis.call('HDEL', KEYS[1], 'probe_until')
    if verdict == 'failed' then
        open()
    elseif verdict == 'succeeded' and redis.call('HINCRBY', KEYS[1], 'successes', 1) >= tonumber(ARGV[4]) then
        redis.call('HSET', KEYS[1], 'state', 'closed', 'generation', generation + 1, 'failures', 0)
        state = 'closed'
    end
elseif state == 'closed' and verdict == 'failed' then
    redis.call('SADD', KEYS[2], ARGV[6])
    redis.call('EXPIRE', KEYS[2], ARGV[5])
    if redis.call('HINCRBY', KEYS[1], 'failures', 1) >= tonumber(ARGV[3]) then open() end
elseif state == 'closed' and verdict == 'succeeded' then
    if redis.call('HEXISTS', KEYS[1], 'failures') == 1 then redis.call('HSET', KEYS[1], 'failures', 0) end
end
redis.call('EXPIRE', KEYS[1], ARGV[5])
return state
"""

# A probe that still streams keeps its place.
_RENEW = """
if redis.call('HGET', KEYS[1], 'generation') ~= ARGV[1] then return 0 end
local now = redis.call('TIME')
redis.call('HSET', KEYS[1], 'probe_until', now[1] * 1000 + math.floor(now[2] / 1000) + tonumber(ARGV[2]))
return 1
"""

# Closed by hand: the generation goes on, so that calls under way are not held against it.
_RESET = """
local generation = tonumber(redis.call('HGET', KEYS[1], 'generation')) or 0
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'state', 'closed', 'generation', generation + 1, 'failures', 0)
redis.call('EXPIRE', KEYS[1], ARGV[1])
redis.call('SREM', KEYS[2], ARGV[2])
return 1
"""


@dataclass(frozen=True, slots=True)
class Circuit:
    """What one breaker watches. Without `key_id` it is the environment's key, which all workspaces share."""

    workspace_id: UUID
    provider: str
    key_id: UUID | None
    model: str

    @property
    def owner(self) -> str:
        return ENVIRONMENT if self.key_id is None else str(self.workspace_id)

    @property
    def key(self) -> str:
        return f"atom:breaker:{self.owner}:{self.provider}:{self.key_id or ENVIRONMENT}:{self.model}"

    @property
    def member(self) -> str:
        """Itself in its owner's index."""
        return orjson.dumps([self.provider, self.key_id, self.model]).decode()


@dataclass(frozen=True, slots=True)
class Permit:
    """Leave to make one call; to be given back to `record`."""

    circuit: Circuit
    generation: int
    is_probe: bool


@dataclass(frozen=True, slots=True)
class Status:
    """One breaker as people see it."""

    circuit: Circuit
    state: State
    failures: int


async def admit(circuit: Circuit, *, probe_s: float, only_closed: bool = False) -> Permit | None:
    """Leave to call, or None when the store is away (call, and record nothing). Raise BreakerOpen, within an instant.

    A probe that is heard of no more after `probe_s` seconds gives way to another. `only_closed` never probes.
    """
    args = [int(settings.ATOM_BREAKER_OPEN * 1000), int(probe_s * 1000), int(only_closed)]
    answer = await run_script(_ADMIT, [circuit.key], args)
    if answer is None:
        return None
    is_admitted, generation, is_probe, wait_ms = (int(value) for value in answer)
    if not is_admitted:
        raise BreakerOpen(
            f"{circuit.provider} has failed too often and is not called for a moment.",
            retry_after_s=max(1, -(-wait_ms // 1000)),
        )
    return Permit(circuit, generation, bool(is_probe))


async def record(permit: Permit, verdict: Verdict) -> None:
    """How the call ended; `left` (the client went away) lets a probe's place go and says nothing else."""
    if verdict == "left" and not permit.is_probe:
        return
    circuit = permit.circuit
    args = [permit.generation, verdict, FAILURES_TO_OPEN, SUCCESSES_TO_CLOSE, KEEP_S, circuit.member]
    if await run_script(_RECORD, [circuit.key, _index(circuit.owner)], args) == b"open":
        _opened.clear()


async def renew(permit: Permit, *, probe_s: float) -> None:
    await run_script(_RENEW, [permit.circuit.key], [permit.generation, int(probe_s * 1000)])


async def reset(circuit: Circuit) -> None:
    await run_script(_RESET, [circuit.key, _index(circuit.owner)], [KEEP_S, circuit.member])
    _opened.clear()


# Until when (monotonic) it is remembered, and which are open.
_opened: dict[UUID, tuple[float, frozenset[Circuit]]] = {}


async def opened(workspace_id: UUID) -> frozenset[Circuit]:
    """The breakers that would refuse a call of this workspace now; not those that are due for a probe.

    None, when the store is away. What others opened is known within REMEMBER_S.
    """
    known = _opened.get(workspace_id)
    if known is not None and known[0] > time.monotonic():
        return known[1]
    return await together((opened, workspace_id), lambda: _look_up(workspace_id))


async def _look_up(workspace_id: UUID) -> frozenset[Circuit]:
    found = await _opened_now(workspace_id)
    if len(_opened) >= REMEMBER_MOST:
        _opened.clear()
    _opened[workspace_id] = (time.monotonic() + REMEMBER_S, found)
    return found


async def _opened_now(workspace_id: UUID) -> frozenset[Circuit]:
    owners = (str(workspace_id), ENVIRONMENT)
    found: Any = await asked(lambda client: _all(client, [("SMEMBERS", _index(owner)) for owner in owners]))
    circuits = [_circuit_of(workspace_id, member) for members in found or () for member in members]
    if not circuits:
        return frozenset()
    states_of = [("HMGET", circuit.key, "state", "opened_at") for circuit in circuits]
    kept: Any = await asked(lambda client: _all(client, [("TIME",), *states_of]))
    if kept is None:
        return frozenset()
    (seconds, microseconds), *states = kept
    due_ms = seconds * 1000 + microseconds // 1000 - settings.ATOM_BREAKER_OPEN * 1000
    return frozenset(
        circuit
        for circuit, (state, opened_at) in zip(circuits, states, strict=True)
        if state == b"open" and float(opened_at) > due_ms
    )


async def _all(client: redis.asyncio.Redis, commands: Sequence[tuple[str, ...]]) -> list[Any]:
    """The answers to all these commands, in one trip."""
    async with client.pipeline(transaction=False) as pipeline:
        for command in commands:
            pipeline.execute_command(*command)
        found: list[Any] = await pipeline.execute()
        return found


async def statuses(workspace_id: UUID) -> list[Status]:
    """The breakers that a workspace's calls meet and that have seen a failure: its own and the environment's."""
    found: list[Status] = []
    for owner in (str(workspace_id), ENVIRONMENT):
        # mypy finds no type for a lambda's default.
        members = await asked(lambda client, owner=owner: client.smembers(_index(owner)))  # type: ignore[misc]
        circuits = [_circuit_of(workspace_id, member) for member in sorted(members or ())]
        found.extend([status for one in circuits if (status := await _status(one))])
    return found


async def _status(circuit: Circuit) -> Status | None:
    kept: Any = await asked(lambda client: client.hgetall(circuit.key))
    if not kept:
        return None
    return Status(circuit, _state(kept), int(kept.get(b"failures", 0)))


def _state(kept: dict[bytes, bytes]) -> State:
    match kept.get(b"state"):
        case b"open":
            return "open"
        case b"half_open":
            return "half_open"
    return "closed"


def _circuit_of(workspace_id: UUID, member: bytes) -> Circuit:
    provider, key_id, model = orjson.loads(member)
    return Circuit(workspace_id, provider, UUID(key_id) if key_id else None, model)


def _index(owner: str) -> str:
    return f"atom:breakers:{owner}"
