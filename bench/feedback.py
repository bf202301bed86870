"""`make bench`: a million feedbacks summed by hour and day, and the dashboard's question, beside counting every row.

All in one run on one database (a throw-away SQLite, or what DATABASE_URL names), with the code that the worker runs.
"""

import contextlib
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import django

HOME = tempfile.mkdtemp(prefix="atom-bench-")
os.environ["ATOM_HOME"] = HOME
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "atom.settings")
django.setup()

from django.core.management import call_command  # noqa: E402  # settings are read from the environment above
from django.db import connection, transaction  # noqa: E402
from django.db.models import Avg, Count  # noqa: E402
from django.utils import timezone  # noqa: E402

from agents.models import Message, Run  # noqa: E402
from agents.services import create_agent  # noqa: E402
from atom.ground.principal import Principal  # noqa: E402
from atom.ground.services import create_user, create_workspace  # noqa: E402
from atom.ground.tokens import principal_of_user  # noqa: E402
from feedback import queries  # noqa: E402
from feedback.models import DirtyHour, Feedback  # noqa: E402
from feedback.queries.sums import last_days  # noqa: E402
from feedback.rollups import NEGATIVE, POSITIVE, hour_of, sum_dirty_hours  # noqa: E402

ROWS = int(os.environ.get("BENCH_FEEDBACK_ROWS", "1000000"))
AGENTS = 10
DAYS = 30
MODELS = (("openai", "gpt-4o-mini"), ("openai", "gpt-4o"), ("anthropic", "claude-sonnet-4-5"), ("gemini", "flash"))
CATEGORIES = ("", "tone", "facts", "format")
PROMPTS = ("aaaaaaaaaaaa", "bbbbbbbbbbbb")
# What Python writes is copied by the database, or the writing would take longer than everything that is measured.
COPIES = 20
ASKED = 20
AGGREGATED_WITHIN_S = 60.0
ANSWERED_WITHIN_S = 0.05
GROWN_BY_AT_MOST_MB = 200.0


def main() -> int:
    try:
        call_command("migrate", verbosity=0)
        return measure()
    finally:
        shutil.rmtree(HOME, ignore_errors=True)


def measure() -> int:
    principal = fill()
    before_mb, worked_s = forget_peak(), time.process_time()
    summed_s, hours = timed(sum_dirty_hours)
    grown_mb, worked_s = memory_mb("VmHWM") - before_mb, time.process_time() - worked_s
    print(
        f"{ROWS:,} feedbacks, {hours:,} hours of {AGENTS} agents summed in {summed_s:.1f} s ({worked_s:.1f} s of work)"
    )
    print(f"memory while summing: {grown_mb:.0f} MB more than before")

    naive_s, counted = timed(naive_recount)
    total = queries.analytics(principal).total
    print(f"naive recount, every row through Python: {naive_s:.1f} s; the same {total:,}: {counted == total == ROWS}")

    since, until = last_days(DAYS)
    wanted = queries.Wanted(since=since, until=until)
    dashboard_s = median_s(lambda: queries.analytics(principal, wanted), ASKED)
    naive_s = median_s(lambda: naive_dashboard(principal), 3)
    print(f"dashboard query: {dashboard_s * 1000:.1f} ms from the sums, {naive_s * 1000:.0f} ms from the rows")

    late_s = late_feedback(principal)
    print(f"one late feedback is in the figures after {late_s * 1000:.0f} ms of work")
    fits = summed_s <= AGGREGATED_WITHIN_S and dashboard_s <= ANSWERED_WITHIN_S and grown_mb <= GROWN_BY_AT_MOST_MB
    print("within bounds" if fits and counted == total == ROWS else "NOT within bounds")
    return 0 if fits and counted == total == ROWS else 1


def fill() -> Principal:
    """A workspace with agents, and a million feedbacks spread over a month, every hour marked as the doors mark it."""
    owner = create_user(username="bench", password="a long bench password")
    workspace = create_workspace(name="Bench", owner=owner, by="bench")
    answers = []
    for number in range(AGENTS):
        agent = create_agent(workspace_id=workspace.id, name=f"Agent {number}", slug=f"agent-{number}", by="bench")
        run = Run.objects.create(workspace=workspace, agent=agent, status="succeeded")
        answers.append(Message.objects.create(workspace=workspace, run=run, role="assistant"))
    begin = timezone.now().astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=DAYS - 1)
    random = Random(7)  # figures, not secrets
    started = time.perf_counter()
    with transaction.atomic():
        # In the order of their time, as feedback comes.
        rows = sorted(made(random, answers, begin, ROWS // COPIES), key=lambda row: row.created_at)
        Feedback.objects.bulk_create(rows, batch_size=500)
        marks = [DirtyHour(agent_id=row.agent_id, hour=row.created_at.replace(minute=0, second=0)) for row in rows]
        DirtyHour.objects.bulk_create(marks, batch_size=2000)
        copy(Feedback)
        copy(DirtyHour)
    print(f"{ROWS:,} rows written in {time.perf_counter() - started:.0f} s ({connection.vendor})")
    return principal_of_user(owner.pk)


def copy(table: Any) -> None:
    """Each row so often that there are enough, under new ids; the database does it."""
    new_id = {"sqlite": "lower(hex(randomblob(16)))", "postgresql": "gen_random_uuid()"}[connection.vendor]
    names = [field.column for field in table._meta.concrete_fields if not field.primary_key]
    columns = ", ".join(f'"{name}"' for name in names)
    has_uuid = table._meta.pk.get_internal_type() == "UUIDField"
    into, values = (f"id, {columns}", f"{new_id}, {columns}") if has_uuid else (columns, columns)
    name = table._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE TEMPORARY TABLE seeds AS SELECT * FROM {name}")
        for _ in range(COPIES - 1):
            cursor.execute(f"INSERT INTO {name} ({into}) SELECT {values} FROM seeds")
        cursor.execute("DROP TABLE seeds")


def made(random: Random, answers: list[Message], begin: datetime, count: int) -> Iterator[Feedback]:

    for _ in range(count):
        answer = random.choice(answers)
        run = answer.run
        assert run is not None
        provider, model = random.choice(MODELS)
        thumb = random.choice(("up", "up", "down", ""))
        yield Feedback(
            id=UUID(int=random.getrandbits(128)),
            workspace_id=answer.workspace_id,
            agent_id=run.agent_id,
            run=run,
            message=answer,
            thumb=thumb,
            rating=None if thumb else random.randint(1, 5),
            correction="better" if random.random() < 0.05 else "",
            category=random.choice(CATEGORIES),
            provider=provider,
            model=model,
            prompt_version=random.choice(PROMPTS),
            cost_nano_usd=random.randint(1_000, 900_000),
            latency_ms=random.randint(100, 4000),
            status="accepted",
            created_at=begin + timedelta(seconds=random.randrange(DAYS * 86_400)),
        )


def naive_recount() -> int:
    """What there would be without sums: every row read, and counted by agent, hour and opinion."""
    found: Counter[tuple[object, ...]] = Counter()
    rows = Feedback.objects.order_by().only("agent_id", "created_at", "thumb", "rating", "model", "category")
    for row in rows.iterator(chunk_size=5000):
        hour = row.created_at.replace(minute=0, second=0, microsecond=0)
        found[row.agent_id, hour, row.model, row.category, row.get_sentiment()] += 1
    return found.total()


def naive_dashboard(principal: Principal) -> object:

    rows = Feedback.objects.filter(workspace_id=principal.workspace_id)
    return rows.aggregate(
        total=Count("pk"),
        positive=Count("pk", filter=POSITIVE),
        negative=Count("pk", filter=NEGATIVE),
        average=Avg("rating"),
    )


def late_feedback(principal: Principal) -> float:

    row = Feedback.objects.order_by("created_at")[ROWS // 2]
    Feedback.objects.filter(pk=row.pk).update(thumb="down")
    DirtyHour.objects.create(agent_id=row.agent_id, hour=hour_of(row.created_at))
    return timed(sum_dirty_hours)[0]


def timed(work: Callable[[], int]) -> tuple[float, int]:
    started = time.perf_counter()
    found = work()
    return time.perf_counter() - started, found


def median_s(work: Callable[[], object], times: int) -> float:
    def one() -> float:
        started = time.perf_counter()
        work()
        return time.perf_counter() - started

    return statistics.median(one() for _ in range(times))


def memory_mb(line: str) -> float:
    """A line of Linux's /proc/self/status, in megabytes; 0 elsewhere."""
    status = Path("/proc/self/status")
    found = [row for row in status.read_text().splitlines() if row.startswith(line)] if status.exists() else []
    return int(found[0].split()[1]) / 1024 if found else 0.0


def forget_peak() -> float:
    """Begin to watch the memory's peak anew; gives what is used now."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return memory_mb("VmRSS")


if __name__ == "__main__":
    sys.exit(main())
