"""`GET /metrics`: what a scrape gets, and who may scrape."""

from collections.abc import Callable, Iterator

import httpx
import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from pytest_django import Settings

from atom.ground.models import Membership, User, Workspace
from atom.ground.principal import Principal
from atom.ground.tokens import create_token
from tests.events import bearer
from tests.simulators.openai import OpenAISimulator

TokenOf = Callable[[Principal], str]
AT = {"provider": "openai", "model": "gpt-4o-mini"}


@pytest.fixture
def http(server: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server, timeout=30, trust_env=False) as client:
        yield client


def ask(http: httpx.Client, token: str, model: str = "openai/gpt-4o-mini") -> None:
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
    http.post("/v1/chat/completions", json=body, headers=bearer(token))


def scraped(http: httpx.Client, **headers: str) -> dict[str, Metric]:
    answer = http.get("/metrics", headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return {family.name: family for family in text_string_to_metric_families(answer.text)}


def value(families: dict[str, Metric], family: str, sample: str = "", **labels: str) -> float:
    """The one sample of a family that has these labels among its own."""
    [found] = [
        each.value
        for each in families[family].samples
        if labels.items() <= each.labels.items() and each.name == (sample or each.name)
    ]
    return float(found)


def test_providers_figures_after_traffic(
    http: httpx.Client, alice: Principal, token_of: TokenOf, openai_simulator: OpenAISimulator, settings: Settings
) -> None:
    settings.AGENT_FALLBACK_ENABLED = False
    token = token_of(alice)
    for _ in range(3):
        usage = {"prompt_tokens": 1000, "completion_tokens": 500}
        openai_simulator.will_say("one two", usage=usage, delay_s=0.03, first_delay_s=0.06)
        ask(http, token)
    openai_simulator.will_fail(500)
    ask(http, token)
    found = scraped(http)
    expected = {"requests": 4, "successes": 3, "failures": 1, "left": 0}
    assert {name: value(found, f"atom_provider_{name}", **AT) for name in expected} == expected
    assert value(found, "atom_provider_tokens", direction="input", **AT) == 3000
    assert value(found, "atom_provider_tokens", direction="output", **AT) == 1500
    assert value(found, "atom_provider_cost_usd", direction="output", **AT) == pytest.approx(0.0009)
    latency = "atom_provider_latency_seconds"
    assert value(found, latency, f"{latency}_count", **AT) == 3
    assert value(found, latency, f"{latency}_bucket", le="+Inf", **AT) == 3
    assert value(found, latency, f"{latency}_bucket", le="0.05", **AT) == 0
    assert value(found, latency, f"{latency}_sum", **AT) >= 0.25
    assert value(found, "atom_breaker_state", state="closed", **AT) == 1
    assert value(found, "atom_runs_last_hour", status="succeeded") == 3
    assert value(found, "atom_runs_last_hour", status="failed") == 1
    assert value(found, "process_resident_memory_bytes") > 0


def test_a_histogram_grows_with_its_bounds(
    http: httpx.Client, alice: Principal, token_of: TokenOf, openai_simulator: OpenAISimulator
) -> None:
    ask(http, token_of(alice))
    samples = scraped(http)["atom_provider_time_to_first_token_seconds"].samples
    buckets = [sample for sample in samples if sample.name.endswith("_bucket")]
    counts = [sample.value for sample in sorted(buckets, key=lambda sample: float(sample.labels["le"]))]
    assert counts == sorted(counts)
    assert counts[-1] == 1


def test_open_breakers_and_pending_approvals_show(
    http: httpx.Client, alice: Principal, token_of: TokenOf, openai_simulator: OpenAISimulator, settings: Settings
) -> None:
    settings.AGENT_FALLBACK_ENABLED = False
    headers = bearer(token_of(alice))
    for _ in range(5):
        openai_simulator.will_fail(500)
        ask(http, token_of(alice))
    made = {"name": "I", "slug": "intern", "system_prompt": "", "maturity": "intern"}
    assert http.post("/api/agents/", json=made, headers=headers).status_code == 201
    asked = {"agent": "intern", "action": "delete", "arguments": {"id": 7}}
    assert http.post("/api/actions/", json=asked, headers=headers).json()["decision"] == "ask"
    found = scraped(http)
    states = {state: value(found, "atom_breaker_state", state=state, **AT) for state in ("open", "closed", "half_open")}
    assert states == {"open": 1, "closed": 0, "half_open": 0}
    assert value(found, "atom_approvals_pending", workspace="Alice's") == 1


# --- Who may ----------------------------------------------------------------------------------------------------
def test_this_machine_sees_every_workspace_by_name(
    http: httpx.Client, alice: Principal, mallory: Principal, token_of: TokenOf
) -> None:
    for principal in (alice, mallory):
        ask(http, token_of(principal))
    found = scraped(http)
    assert value(found, "atom_provider_requests", workspace="Alice's", workspace_id=str(alice.workspace_id)) == 1
    assert value(found, "atom_provider_requests", workspace="Mallory's") == 1


def test_an_owners_token_sees_their_own_workspace_alone_and_no_names(
    http: httpx.Client, alice: Principal, mallory: Principal, token_of: TokenOf
) -> None:
    ask(http, token_of(alice))
    ask(http, token_of(alice), "openai/only-alices")
    ask(http, token_of(mallory))
    answer = http.get("/metrics", headers=bearer(token_of(mallory)))
    assert "only-alices" not in answer.text
    assert "Alice" not in answer.text
    found = scraped(http, **bearer(token_of(mallory)))
    assert value(found, "atom_provider_requests") == 1
    assert not any("workspace" in sample.labels for family in found.values() for sample in family.samples)
    assert value(found, "atom_runs_last_hour") == 1


def test_the_installations_admin_sees_all(
    http: httpx.Client, alice: Principal, mallory: Principal, token_of: TokenOf
) -> None:
    User.objects.filter(pk=alice.user_id).update(is_superuser=True)
    ask(http, token_of(mallory))
    assert value(scraped(http, **bearer(token_of(alice))), "atom_provider_requests", workspace="Mallory's") == 1


def test_a_token_without_the_scope_is_a_403_and_a_bad_one_a_401(
    http: httpx.Client, alice: Principal, carol: Principal, token_of: TokenOf
) -> None:
    owner = Membership.objects.get(user_id=alice.user_id)
    chat_only = create_token(membership=owner, name="chat", by="test", scopes=["chat"])[1]
    for token in (chat_only, token_of(carol)):
        answer = http.get("/metrics", headers=bearer(token))
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "forbidden")
    metrics_only = create_token(membership=owner, name="scraper", by="test", scopes=["metrics"])[1]
    assert http.get("/metrics", headers=bearer(metrics_only)).status_code == 200
    # On this machine too: who shows a token is taken by it.
    assert http.get("/metrics", headers=bearer("sk-atom-" + "0" * 64)).status_code == 401


@pytest.mark.parametrize(
    "header",
    [
        {"X-Forwarded-For": "203.0.113.9"},
        {"X-Forwarded-For": "127.0.0.1"},
        {"X-Forwarded-Proto": "https"},
        {"Forwarded": "for=203.0.113.9"},
        {"X-Real-IP": "203.0.113.9"},
        {"Via": "1.1 proxy"},
        {"Host": "rebound.example"},
    ],
    ids=["for", "for-loopback", "proto", "forwarded", "real-ip", "via", "other-host"],
)
@pytest.mark.parametrize("trusted", [True, False], ids=["trusted", "untrusted"])
def test_what_came_through_a_proxy_or_under_another_name_needs_a_token(
    http: httpx.Client,
    alice: Principal,
    token_of: TokenOf,
    settings: Settings,
    header: dict[str, str],
    trusted: bool,
) -> None:
    settings.ATOM_TRUSTED_PROXIES = ["127.0.0.1"] if trusted else []
    answer = http.get("/metrics", headers=header)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "not_authenticated")
    assert http.get("/metrics", headers={**header, **bearer(token_of(alice))}).status_code == 200


def test_only_get_is_answered(http: httpx.Client, workspace: Workspace) -> None:
    assert http.post("/metrics").status_code == 405


def test_snapshots_say_how_often_they_answered_from_memory(
    http: httpx.Client, alice: Principal, token_of: TokenOf, openai_simulator: OpenAISimulator
) -> None:
    token = token_of(alice)
    before = value(scraped(http), "atom_snapshot_hits", kind="budgets")
    for _ in range(3):
        ask(http, token)
    found = scraped(http)
    assert value(found, "atom_snapshot_hits", kind="budgets") > before
    assert value(found, "atom_snapshot_size", kind="budgets") >= 1
