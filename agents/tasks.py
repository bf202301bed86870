"""Celery's way in: nothing is decided here."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar
from uuid import UUID

from celery import shared_task

from agents.runs import lost, turns
from agents.runs.live import LEASE_S, lease_key, live
from agents.runs.start import go_on
from atom.ground.store import close_store, sync_store
from llm import metrics
from llm.http import close_client

T = TypeVar("T")


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """Run async work on a loop of its own, until no run is at work there, and close what it opened."""

    async def whole() -> T:
        try:
            result = await work
            # A run that ends may begin its session's next turn.
            await live().rest()
            return result
        finally:
            await metrics.flush()
            await close_client()
            await close_store()

    return asyncio.run(whole())


@shared_task
def interrupt_lost_runs() -> int:
    return run_async(lost.interrupt_lost_runs())


@shared_task
def start_stranded_turns() -> int:
    """Begin queued turns of idle sessions: the process that would have done so died."""
    return run_async(turns.start_stranded())


@shared_task
def continue_run(run_id: str) -> None:
    # A lease from now on: between the decision and the first step the run must not count as lost.
    sync_store().set(lease_key(run_id), b"1", px=int(LEASE_S * 1000))
    run_async(go_on(UUID(run_id)))
