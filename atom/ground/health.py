"""Whether the parts that a request needs do answer."""

import asyncio
from collections.abc import Awaitable

from django.db import connection

from atom.ground.database import in_db
from atom.ground.draining import is_draining
from atom.ground.store import store

# The worker says this often that it lives; Celery's own inspection takes a second.
WORKER_KEY = "atom:worker:heartbeat"
WORKER_EVERY_S = 5.0
ANSWER_WITHIN_S = 2.0


def _ask_database() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        return bool(cursor.fetchone() == (1,))


async def _ask_store() -> bool:
    return bool(await store().ping())


async def _ask_worker() -> bool:
    return bool(await store().exists(WORKER_KEY))


async def _answers(question: Awaitable[bool]) -> bool:
    try:
        return await asyncio.wait_for(question, ANSWER_WITHIN_S)
    except Exception:
        # Whatever it was: a part that cannot be asked does not answer.
        return False


async def failing_parts() -> list[str]:
    """The names of the parts that do not answer, in a fixed order; `draining` when this process is on its way out."""
    parts = {"database": in_db(_ask_database), "store": _ask_store(), "worker": _ask_worker()}
    answers = await asyncio.gather(*(_answers(question) for question in parts.values()))
    failing = [name for name, answer in zip(parts, answers, strict=True) if not answer]
    return [*failing, "draining"] if is_draining() else failing
