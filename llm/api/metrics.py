"""The shape of provider metrics, as `GET /v1/metrics/providers` gives it."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any
from uuid import UUID

from atom.ground.errors import BadRequest
from llm import breaker, metrics
from llm.breaker import State, Status
from llm.metrics import Figures

# The worst of several breakers is what a provider shows.
_SEVERITY: dict[State, int] = {"closed": 0, "half_open": 1, "open": 2}


async def provider_metrics(workspace_id: UUID, window: str | None) -> dict[str, dict[str, Any]]:
    """Provider → its figures in the last `window` seconds, and under `models` those of each model."""
    figures = await metrics.figures_of(workspace_id, window_s=window_of(window))
    statuses = await breaker.statuses(workspace_id)
    return {
        provider: {
            **figures_json(metrics.together(models.values())),
            "breaker": worst([one for one in statuses if one.circuit.provider == provider]),
            "models": {
                model: {
                    **figures_json(one),
                    "breaker": worst(
                        [s for s in statuses if (s.circuit.provider, s.circuit.model) == (provider, model)]
                    ),
                }
                for model, one in sorted(models.items())
            },
        }
        for provider, models in sorted(figures.items())
    }


def window_of(given: str | None) -> int:
    """Whole seconds, at most a day; BadRequest for anything else."""
    if given is None:
        return metrics.DEFAULT_WINDOW_S
    is_number = given.isascii() and given.isdigit() and len(given) <= len(str(metrics.MAX_WINDOW_S))
    if not is_number or not 0 < int(given) <= metrics.MAX_WINDOW_S:
        raise BadRequest(f"window is a number of seconds from 1 to {metrics.MAX_WINDOW_S}.", param="window")
    return int(given)


def worst(statuses: list[Status]) -> State:
    return max((one.state for one in statuses), key=_SEVERITY.__getitem__, default="closed")


def figures_json(figures: Figures) -> Mapping[str, Any]:
    counts = figures.counts
    return {
        "request_count": counts["requests"],
        "success_count": counts["succeeded"],
        "failure_count": counts["failed"],
        "success_rate": figures.success_rate,
        "total_tokens": counts["tokens_in"] + counts["tokens_out"],
        "input_tokens": counts["tokens_in"],
        "output_tokens": counts["tokens_out"],
        "cost_usd": _dollars(figures.cost_usd),
        "cost_per_1k_input": _dollars(figures.cost_per_1k("in")),
        "cost_per_1k_output": _dollars(figures.cost_per_1k("out")),
        "latency_p50_ms": figures.percentile_ms("total", 0.5),
        "latency_p95_ms": figures.percentile_ms("total", 0.95),
        "latency_p99_ms": figures.percentile_ms("total", 0.99),
        "ttft_p50_ms": figures.percentile_ms("ttft", 0.5),
        "ttft_p95_ms": figures.percentile_ms("ttft", 0.95),
        "ttft_p99_ms": figures.percentile_ms("ttft", 0.99),
        "gap_p50_ms": figures.percentile_ms("gap", 0.5),
        "gap_p95_ms": figures.percentile_ms("gap", 0.95),
        "gap_p99_ms": figures.percentile_ms("gap", 0.99),
    }


def _dollars(amount: Decimal | None) -> float | None:
    # A figure to look at, not to book by: money that counts is in /api/usage/.
    return None if amount is None else float(amount)
