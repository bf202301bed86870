"""The installation's figures in Prometheus's text format.

Providers' figures and breakers come from the store and runs and approvals from the database, so that every web process
gives the same; only the `process_…` and `atom_snapshot_…` figures are those of the process that answers.
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, get_args
from uuid import UUID

from django.conf import settings
from django.db.models import Case, Count, F, QuerySet, Value, When
from django.utils import timezone
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from agents.models import OPEN_STATUSES, Run
from atom.ground import snapshots
from atom.ground.database import in_db
from atom.ground.models import User, Workspace
from atom.ground.principal import Principal
from governance.models import Approval, ApprovalStatus, Decision
from llm import breaker, metrics
from llm.breaker import State, Status
from llm.metrics import Figures, Series, milliseconds_of

CONTENT_TYPE = CONTENT_TYPE_LATEST
# Upper bounds of the histograms, in seconds.
BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
LATENCIES: dict[str, tuple[Series, str]] = {
    "atom_provider_latency_seconds": ("total", "Whole calls that succeeded."),
    "atom_provider_time_to_first_token_seconds": ("ttft", "From the call to the first event of the answer."),
    "atom_provider_chunk_gap_seconds": ("gap", "Between two events of a stream."),
}
COUNTS = {
    "atom_provider_requests": ("requests", "Calls to providers."),
    "atom_provider_successes": ("succeeded", "Calls that succeeded."),
    "atom_provider_failures": ("failed", "Calls that failed."),
    "atom_provider_left": ("left", "Calls that the client left before their end."),
}
RECENT = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Seen:
    """The workspaces whose figures a caller sees. `is_all`: the whole installation, with their names as labels."""

    names: Mapping[UUID, str]
    is_all: bool

    @property
    def labels(self) -> tuple[str, ...]:
        return ("workspace", "workspace_id") if self.is_all else ()

    def values(self, workspace_id: UUID) -> tuple[str, ...]:
        return (self.names[workspace_id], str(workspace_id)) if self.is_all else ()


def all_workspaces() -> Seen:
    return Seen(dict(Workspace.objects.order_by("created_at").values_list("id", "name")), is_all=True)


def workspaces_of(principal: Principal) -> Seen:
    """All for the installation's admin, one's own for anybody else."""
    if User.objects.filter(pk=principal.user_id, is_superuser=True, is_active=True).exists():
        return all_workspaces()
    return Seen({principal.workspace_id: ""}, is_all=False)


async def exposition(seen: Seen) -> bytes:
    """The page that a scrape gets."""
    ids = list(seen.names)
    figures, rows = await asyncio.gather(metrics.figures_ever(ids), in_db(lambda: list(_from_database(seen))))
    # Who has called nobody has met no breaker.
    statuses = await _statuses([one for one, found in zip(ids, figures, strict=True) if found])
    registry = CollectorRegistry()
    families = [_info(), *_providers(seen, dict(zip(ids, figures, strict=True))), _breakers(seen, statuses), *rows]
    families += _snapshots()
    registry.register(_Collected(families))
    ProcessCollector(registry=registry)
    return generate_latest(registry)


class _Collected(Collector):
    """Families that are collected already: asking the store and the database is async."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = list(families)

    def collect(self) -> Iterable[Metric]:
        return self._families


def _info() -> Metric:
    info = GaugeMetricFamily("atom_info", "Which Atom this is.", labels=["version"])
    info.add_metric([settings.ATOM_VERSION], 1)
    return info


def _snapshots() -> Iterator[Metric]:
    """How the snapshots of this process fare: agents, policies, budgets, grants."""
    hits = CounterMetricFamily("atom_snapshot_hits", "Answered from memory.", labels=["kind"])
    loads = CounterMetricFamily("atom_snapshot_loads", "Read from the database.", labels=["kind"])
    size = GaugeMetricFamily("atom_snapshot_size", "Workspaces held.", labels=["kind"])
    age = GaugeMetricFamily("atom_snapshot_oldest_age_seconds", "Of the oldest one held.", labels=["kind"])
    for kind, found in sorted(snapshots.figures().items()):
        for family, value in ((hits, found.hits), (loads, found.loads), (size, found.size), (age, found.oldest_age_s)):
            family.add_metric([kind], value)
    yield from (hits, loads, size, age)


# --- Providers ------------------------------------------------------------------------------------------------
def _providers(seen: Seen, figures: Mapping[UUID, dict[str, dict[str, Figures]]]) -> Iterator[Metric]:
    rows = [
        ([*seen.values(workspace_id), provider, model], one)
        for workspace_id, providers in figures.items()
        for provider, models in sorted(providers.items())
        for model, one in sorted(models.items())
    ]
    labels = [*seen.labels, "provider", "model"]
    for name, (count, says) in COUNTS.items():
        counter = CounterMetricFamily(name, says, labels=labels)
        for values, one in rows:
            counter.add_metric(values, one.counts[count])
        yield counter
    tokens = CounterMetricFamily("atom_provider_tokens", "Tokens sent and said.", labels=[*labels, "direction"])
    cost = CounterMetricFamily("atom_provider_cost_usd", "What they cost, in dollars.", labels=[*labels, "direction"])
    for values, one in rows:
        for direction, side in (("input", "in"), ("output", "out")):
            tokens.add_metric([*values, direction], one.counts[f"tokens_{side}"])
            cost.add_metric([*values, direction], float(one.counts[f"cost_{side}"] / metrics.PICO))
    yield from (tokens, cost)
    for name, (series, says) in LATENCIES.items():
        histogram = HistogramMetricFamily(name, says, labels=labels)
        for values, one in rows:
            buckets, total_s = histogram_of(one, series)
            histogram.add_metric(values, buckets, total_s)
        yield histogram


def histogram_of(figures: Figures, series: Series) -> tuple[list[tuple[str, float]], float]:
    """Cumulative counts by upper bound, and the sum in seconds; exact to a tenth, as the store's buckets are."""
    counted = [(milliseconds_of(bucket) / 1000, count) for bucket, count in figures.series[series].items()]
    bounds = [(str(bound), sum(count for at, count in counted if at <= bound)) for bound in BOUNDS_S]
    total = sum(count for _, count in counted)
    return [*bounds, ("+Inf", total)], sum(at * count for at, count in counted)


async def _statuses(workspace_ids: Iterable[UUID]) -> list[Status]:
    """Each breaker once, also those of the environment's keys, which every workspace meets."""
    found = [status for one in workspace_ids for status in await breaker.statuses(one)]
    return list({status.circuit.key: status for status in found}.values())


def _breakers(seen: Seen, statuses: Iterable[Status]) -> Metric:
    says = "1 for the state that a breaker is in; only breakers that have seen a failure are listed."
    gauge = GaugeMetricFamily("atom_breaker_state", says, labels=[*seen.labels, "provider", "model", "key", "state"])
    for status in statuses:
        circuit = status.circuit
        # A breaker around the environment's key belongs to no workspace.
        whose = tuple("" for _ in seen.labels) if circuit.key_id is None else seen.values(circuit.workspace_id)
        values = [*whose, circuit.provider, circuit.model, str(circuit.key_id or breaker.ENVIRONMENT)]
        for state in get_args(State):
            gauge.add_metric([*values, state], int(status.state == state))
    return gauge


# --- Runs, decisions and approvals ----------------------------------------------------------------------------
def _from_database(seen: Seen) -> Iterator[Metric]:
    runs, approvals = Run.objects.all(), Approval.objects.filter(status=ApprovalStatus.PENDING)
    is_open, is_recent = runs.filter(status__in=OPEN_STATUSES), runs.filter(created_at__gte=timezone.now() - RECENT)
    yield _counted(seen, "atom_runs_open", "Runs that have not ended, by status.", is_open, "status")
    yield _counted(seen, "atom_runs_last_hour", "Runs begun in the last hour, by status.", is_recent, "status")
    decided = Decision.objects.filter(created_at__gte=timezone.now() - RECENT)
    says = "Actions judged in the last hour, by verdict; `error` could not be judged, which is no `deny`."
    by_verdict = decided.annotate(verdict=Case(When(is_error=True, then=Value("error")), default=F("decision")))
    yield _counted(seen, "atom_decisions_last_hour", says, by_verdict, "verdict")
    yield _counted(seen, "atom_approvals_pending", "Approvals that wait for a person.", approvals)


def _counted(seen: Seen, name: str, says: str, rows: QuerySet[Any], *by: str) -> Metric:
    gauge = GaugeMetricFamily(name, says, labels=[*seen.labels, *by])
    counted = (
        rows.filter(workspace_id__in=list(seen.names)).order_by().values_list("workspace_id", *by).annotate(Count("id"))
    )
    for workspace_id, *values, count in counted:
        gauge.add_metric([*seen.values(workspace_id), *values], count)
    return gauge
