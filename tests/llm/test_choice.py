"""Whom `auto` chooses for what is asked, aliases and suffixes in names, and the explanation of a choice."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from pytest_django import Settings
from rest_framework.test import APIClient

from atom.ground.errors import BadRequest, ModelNotFound
from atom.ground.models import Workspace
from atom.ground.principal import Principal
from llm import breaker, catalog, keyring
from llm.catalog import Catalog, Price
from llm.chat import Call, candidates_of
from llm.context import ContextTooLong
from llm.errors import NoProvider
from llm.keyring import OpenKey
from llm.messages import Image, Message, Request, Text, Thinking, Tool
from llm.model_services import set_alias
from llm.ranking import Needs, Standing, needs_of, rank
from llm.registry import PROVIDERS
from llm.routing import Candidate, candidates, choose, fitted
from llm.shared import from_sync
from llm.standing import circuit_of
from tests.llm.calls import call_of, events_of, key_at
from tests.llm.conftest import asking
from tests.simulators.openai import OpenAISimulator

Api = Callable[[Principal | None], APIClient]

HARD = "Design a distributed consensus protocol and prove its safety."
COMPLEX = "Analyze the economy of Japan and compare it with that of Germany."


@pytest.fixture(autouse=True)
def nothing_remembered() -> None:
    keyring._remembered.clear()
    catalog._remembered.clear()


def keys(*providers: str) -> list[OpenKey]:
    return [OpenKey(id=uuid4(), provider=name, name=name, base_url="", secret=f"sk-{name}") for name in providers]


def chosen(providers: list[str], request: Request, model: str = "auto", **given: Any) -> list[str]:
    return [f"{one.provider}/{one.model}" for one in choose(keys(*providers), model, request=request, **given)]


def looking(text: str = "What is this?") -> Request:
    return Request("auto", (Message("user", (Text(text), Image("data:image/png;base64,AA=="))),))


# --- auto ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("provider", "cheap", "full"),
    [
        ("openai", "gpt-4o-mini", {"gpt-4o", "gpt-4.1"}),
        ("anthropic", "claude-haiku-4-5", {"claude-sonnet-4-5"}),
        ("gemini", "gemini-2.5-flash-lite", {"gemini-2.5-pro"}),
        ("deepseek", "deepseek-chat", {"deepseek-reasoner"}),
        ("mistral", "mistral-small-latest", {"mistral-large-latest"}),
    ],
)
def test_a_simple_question_goes_to_a_cheap_model_and_a_complex_one_to_a_full_one(
    provider: str, cheap: str, full: set[str]
) -> None:
    assert chosen([provider], asking("What is 2 + 2?")) == [f"{provider}/{cheap}"]
    [found] = chosen([provider], asking(COMPLEX))
    assert found.partition("/")[2] in full


def test_an_advanced_question_goes_to_the_best_there_is() -> None:
    found = chosen(["openai", "anthropic"], asking(HARD))
    assert found[0] == "anthropic/claude-opus-4-5"
    # Those below the floor answer only when nobody better does.
    assert found[1] in ("openai/gpt-4o", "openai/gpt-4.1")
    assert chosen(["openai"], asking(HARD))[0] in ("openai/gpt-4o", "openai/gpt-4.1")


def test_each_provider_is_a_candidate_with_its_best_model_and_all_its_keys() -> None:
    found = choose(keys("openai", "openai", "anthropic"), "auto", request=asking("Hi"))
    assert [one.provider for one in found] == ["openai", "openai", "anthropic"]
    assert len({one.key_id for one in found}) == 3


def test_an_image_goes_to_a_model_that_sees() -> None:
    assert chosen(["deepseek", "openai"], looking()) == ["openai/gpt-4o-mini"]
    with pytest.raises(NoProvider, match="deepseek/deepseek-chat does not see images"):
        chosen(["deepseek"], looking())


def test_a_wish_to_think_goes_to_a_model_that_thinks() -> None:
    wish = asking("Hi", thinking=Thinking(level="low"))
    assert chosen(["deepseek"], wish) == ["deepseek/deepseek-reasoner"]
    assert chosen(["openai", "anthropic"], wish)[0] == "anthropic/claude-haiku-4-5"
    assert chosen(["deepseek"], asking("Hi", thinking=Thinking(level="none"))) == ["deepseek/deepseek-chat"]


def test_a_long_conversation_goes_to_a_model_with_the_room() -> None:
    long = asking("word " * 150_000)
    assert chosen(["openai"], long)[0].startswith("openai/gpt-4.1")
    assert chosen(["deepseek", "gemini"], long)[0].startswith("gemini/")
    # Nobody has the room: the largest will do, and context fitting decides.
    assert chosen(["deepseek"], long)[0].startswith("deepseek/")


def test_the_words_of_auto_choose_by_price_or_by_quality() -> None:
    assert chosen(["openai"], asking(HARD), "auto:cheap") == ["openai/gpt-4o-mini"]
    assert chosen(["anthropic"], asking("Hi"), "auto:best") == ["anthropic/claude-opus-4-5"]
    assert choose(keys("anthropic"), "auto:best")[0].model == "claude-opus-4-5"
    for word in ("auto:", "auto:nonsense", "auto:auto", "auto:CHEAP"):
        with pytest.raises(ModelNotFound):
            choose(keys("openai"), word)


def test_an_own_price_changes_the_ranking() -> None:
    free = Catalog(prices={"openai/gpt-4o": Price(Decimal(0), Decimal(0), Decimal(0))})
    assert chosen(["openai"], asking("Hi"), catalog=free) == ["openai/gpt-4o"]


def test_the_price_of_cached_input_counts_in_a_conversation() -> None:
    prices = {
        "openai/gpt-4o-mini": Price(Decimal(2), Decimal(1), Decimal("0.1")),
        "openai/gpt-4.1-mini": Price(Decimal(1), Decimal(1), Decimal(1)),
    }
    first = asking("x" * 40_000)
    later = Request("m", (*first.messages, Message("assistant", (Text("ok"),)), *asking("Hi").messages))
    models = [("openai", "gpt-4o-mini"), ("openai", "gpt-4.1-mini")]
    own = Catalog(prices=prices)
    assert rank(models, needs_of(first), "cheap", catalog=own)[0].model == "gpt-4.1-mini"
    assert rank(models, needs_of(later), "cheap", catalog=own)[0].model == "gpt-4o-mini"


def test_a_model_without_a_price_is_not_taken_for_free() -> None:
    found = rank([("qwen", "qwen-plus"), ("openai", "gpt-4o")], Needs(), "cheap")
    assert [(row.model, row.has_price) for row in found] == [("gpt-4o", True), ("qwen-plus", False)]


def test_what_is_not_healthy_comes_last_and_a_sessions_provider_first() -> None:
    def no_openai(one: Candidate) -> Standing:
        return Standing(is_healthy=one.provider != "openai")

    both = ["openai", "anthropic"]
    assert chosen(both, asking("Hi"))[0].startswith("openai")
    assert chosen(both, asking("Hi"), standing_of=no_openai)[0].startswith("anthropic")
    assert chosen(both, asking("Hi"), prefer="anthropic")[0].startswith("anthropic")
    assert chosen(both, asking("Hi"), prefer="anthropic/claude-haiku-4-5")[0].startswith("anthropic")
    assert chosen(both, asking("Hi"), prefer="openai", standing_of=no_openai)[0].startswith("anthropic")
    assert chosen(both, asking("Hi"), prefer="groq")[0].startswith("openai")


def test_an_explicit_choice_is_obeyed_whatever_it_lacks() -> None:
    assert chosen(["deepseek", "openai"], looking(), "deepseek/deepseek-chat") == ["deepseek/deepseek-chat"]
    assert chosen(["openai"], asking(HARD), "openai/gpt-4.1-nano") == ["openai/gpt-4.1-nano"]
    assert chosen(["deepseek", "openai"], looking(), "deepseek-chat", prefer="openai") == ["deepseek/deepseek-chat"]


def test_the_demo_model_answers_only_where_nothing_else_is_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_BASE_URL", "http://127.0.0.1:9/v1")
    tool = Tool("look", "", {})
    assert chosen([], asking(HARD, tools=(tool,))) == ["local/smollm2"]
    assert chosen(["openai"], asking("Hi")) == ["openai/gpt-4o-mini"]
    with pytest.raises(NoProvider, match="local/smollm2 does not see images"):
        chosen([], looking())


@pytest.mark.parametrize(
    ("request_", "provider"), [(asking("Hi"), "openai"), (asking(COMPLEX), "anthropic"), (looking(), "gemini")]
)
def test_openai_by_default_anthropic_for_complex_tasks_gemini_for_images(request_: Request, provider: str) -> None:
    every = ["openai", "anthropic", "gemini", "deepseek"]
    assert chosen(every, request_)[0].startswith(f"{provider}/")
    # Without that provider's key the cheapest of the others.
    others = [name for name in every if name != provider]
    assert not chosen(others, request_)[0].startswith(f"{provider}/")


def test_auto_cheap_takes_the_cheapest_wherever_it_is_served() -> None:
    assert chosen(["openai", "anthropic", "gemini"], asking(HARD), "auto:cheap")[0] == "gemini/gemini-2.5-flash-lite"
    dear = Catalog(prices={f"gemini/{name}": Price(*[Decimal(99)] * 3) for name in PROVIDERS["gemini"].models})
    found = chosen(["openai", "anthropic", "gemini"], asking("Hi"), "auto:cheap", catalog=dear)
    assert found[0] == "openai/gpt-4o-mini"


# --- Names --------------------------------------------------------------------------------------------
def test_an_alias_stands_for_its_model_and_its_suffix(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-env")
    set_alias(workspace_id=workspace.id, alias="thinker", model="openai/gpt-5(high)", by="test")
    [found] = candidates(workspace.id, "thinker")
    assert (found.provider, found.model) == ("openai", "gpt-5")
    assert found.thinking == Thinking(level="high", is_suffix=True)
    [found] = candidates(workspace.id, "thinker(low)")
    assert found.thinking == Thinking(level="low", is_suffix=True)
    with pytest.raises(ModelNotFound):
        candidates(workspace.id, "other")


def test_an_alias_may_stand_for_a_way_to_choose(settings: Settings) -> None:
    own = Catalog(aliases={"fast": "auto:cheap"})
    assert chosen(["openai"], asking(HARD), "fast", catalog=own) == ["openai/gpt-4o-mini"]
    settings.AGENT_FALLBACK_ORDER = ["anthropic"]
    found = candidates_of(keys("openai", "anthropic"), ["fast"], request=asking("Hi"), own=own)
    assert found[0].provider == "anthropic"


def test_a_suffix_that_is_not_read_does_not_hide_the_model() -> None:
    [found] = choose(keys("openai"), "openai/gpt-4o(banana)")
    assert (found.model, found.thinking) == ("gpt-4o", None)


# --- What a candidate is sent -------------------------------------------------------------------------
def one(model: str) -> Candidate:
    provider = model.partition("/")[0]
    return choose(keys(provider), model)[0]


@pytest.mark.parametrize(
    ("model", "wish", "sent"),
    [
        ("openai/gpt-5", None, None),
        ("openai/gpt-5", Thinking(level="low"), Thinking(level="low")),
        ("openai/gpt-5(high)", None, Thinking(level="high")),
        # The name's suffix comes before the body, the caller's suffix before that of an agent's list.
        ("openai/gpt-5(high)", Thinking(level="low", family="openai"), Thinking(level="high")),
        ("openai/gpt-5(high)", Thinking(level="low", is_suffix=True), Thinking(level="low")),
        ("anthropic/claude-sonnet-4-5(high)", None, Thinking(budget_tokens=24_576)),
        ("openai/gpt-4o(high)", None, None),
    ],
)
def test_a_candidate_is_sent_as_much_thinking_as_it_takes(
    model: str, wish: Thinking | None, sent: Thinking | None
) -> None:
    assert fitted(asking(thinking=wish), one(model)).thinking == sent


def test_a_candidate_is_sent_what_its_window_holds() -> None:
    old = (Message("user", (Text("x" * 300_000),)), Message("assistant", (Text("ok"),)))
    request = Request("m", (*old, *old, *asking("Hi").messages))
    assert len(fitted(request, one("openai/gpt-4o")).messages) == 3
    assert len(fitted(request, one("gemini/gemini-2.5-flash")).messages) == 5
    assert len(fitted(request, one("openai/my-own")).messages) == 5
    with pytest.raises(ContextTooLong, match="openai/gpt-4o reads at most 128000"):
        fitted(asking("x" * 1_000_000), one("openai/gpt-4o"))


@pytest.mark.django_db(transaction=True)
async def test_a_call_sends_the_fitted_thinking_and_goes_out_once(
    workspace: Workspace, openai_simulator: OpenAISimulator
) -> None:
    await key_at(workspace, openai_simulator)
    openai_simulator.will_say("ok")
    await events_of(call_of(workspace, "openai/gpt-5(24576)"))
    assert openai_simulator.requests[0].json["reasoning_effort"] == "high"


@pytest.mark.django_db(transaction=True)
async def test_what_a_model_cannot_take_calls_nobody(workspace: Workspace, openai_simulator: OpenAISimulator) -> None:
    await key_at(workspace, openai_simulator)
    request = asking(thinking=Thinking(level="xhigh", family="openai"))
    for asked, code in ((request, "level_not_supported"), (asking("x" * 9_000_000), "context_length_exceeded")):
        call = Call(workspace_id=workspace.id, request=asked, models=["openai/gpt-5"])
        with pytest.raises((BadRequest, ContextTooLong)) as caught:
            await events_of(call)
        assert caught.value.code == code
        assert caught.value.status == 400
    assert openai_simulator.requests == []


# --- The explanation ----------------------------------------------------------------------------------
def explained(client: APIClient, **given: Any) -> dict[str, Any]:
    answer = client.post("/api/models/route/", given, format="json")
    assert answer.status_code == 200, answer.content
    found: dict[str, Any] = answer.json()
    return found


def test_a_choice_is_explained_without_calling_anything(
    api: Api, alice: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-env")
    image = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    parts = [{"type": "text", "text": "What is this?"}, image]
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
    found = explained(
        api(alice),
        messages=[{"role": "user", "content": parts}],
        tools=[tool],
        response_format={"type": "json_object"},
        max_tokens=50,
    )
    assert (found["model"], found["complexity"], found["chosen"]) == ("auto", "simple", "openai/gpt-4o-mini")
    needs = found["needs"]
    assert [needs[name] for name in ("sees", "tools", "json", "thinks", "output_tokens")] == [
        True,
        True,
        True,
        False,
        50,
    ]
    rows = {f"{row['provider']}/{row['model']}": row for row in found["candidates"]}
    assert rows["openai/gpt-4o-mini"]["dropped"] == []
    assert rows["openai/gpt-4o-mini"]["has_price"] is True
    assert Decimal(rows["openai/gpt-4o-mini"]["cost_usd"]) > 0
    assert rows["openai/gpt-4o-mini"]["score"] > rows["openai/gpt-4o"]["score"]
    assert "ANTHROPIC_API_KEY" in rows["anthropic/claude-haiku-4-5"]["dropped"][0]


def test_the_explanation_says_why_each_model_is_out(
    api: Api, alice: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_API_KEY", "DEEPSEEK_API_KEY"):
        monkeypatch.setenv(name, "sk-env")
    monkeypatch.setenv("LOCAL_BASE_URL", "http://127.0.0.1:9/v1")
    found = explained(api(alice), messages=[{"role": "user", "content": COMPLEX}], reasoning_effort="none")
    rows = {f"{row['provider']}/{row['model']}": row for row in found["candidates"]}
    assert rows["openai/gpt-4o-mini"]["dropped"] == ["quality 2 is below 3"]
    assert rows["openai/gpt-4o-mini"]["is_last_resort"] is True
    assert rows["local/smollm2"]["dropped"] == ["The demo model stands in for nobody."]
    found = explained(api(alice), messages=[{"role": "user", "content": "Hi"}], reasoning_effort="high")
    rows = {f"{row['provider']}/{row['model']}": row for row in found["candidates"]}
    assert rows["openai/gpt-4o"]["dropped"] == ["does not think"]
    assert found["chosen"] == "deepseek/deepseek-reasoner"


def test_an_explicit_name_and_nothing_configured_are_explained_too(
    api: Api, alice: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = explained(api(alice), model="openai/gpt-5(high)")
    assert (found["model"], found["chosen"], found["needs"]["thinks"]) == ("openai/gpt-5", None, True)
    assert "OPENAI_API_KEY" in found["error"]
    assert "OPENAI_API_KEY" in found["candidates"][0]["dropped"][0]
    assert explained(api(alice))["chosen"] is None
    monkeypatch.setenv("OPENAI_API_KEY", "sk-env")
    found = explained(api(alice), model="gpt-4o", messages=[{"content": HARD}])
    assert (found["chosen"], found["candidates"][0]["dropped"]) == ("openai/gpt-4o", [])


def test_unknown_models_and_bad_bodies_are_refused(api: Api, alice: Principal) -> None:
    for model in ("auto:nonsense", "nobody/x", "no-such"):
        assert api(alice).post("/api/models/route/", {"model": model}, format="json").status_code == 404
    for body in ({"messages": "hi"}, {"tools": [1]}, {"max_tokens": 0}):
        assert api(alice).post("/api/models/route/", body, format="json").status_code == 400
    assert api(None).post("/api/models/route/", {}, format="json").status_code == 401


def test_the_explanation_knows_open_breakers_and_a_foreign_workspaces_keys_not(
    api: Api, alice: Principal, mallory: Principal, store: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-env")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-env")
    set_alias(workspace_id=alice.workspace_id, alias="mine", model="openai/gpt-4o", by="test")
    assert explained(api(alice), model="mine")["chosen"] == "openai/gpt-4o"
    assert api(mallory).post("/api/models/route/", {"model": "mine"}, format="json").status_code == 404
    found = choose([], "openai/gpt-4o-mini")[0]
    circuit = circuit_of(alice.workspace_id, found)
    for _ in range(breaker.FAILURES_TO_OPEN):
        permit = from_sync(breaker.admit(circuit, probe_s=1))
        assert permit is not None
        from_sync(breaker.record(permit, "failed"))
    assert explained(api(alice), messages=[{"content": "Hi"}])["order"] == [
        "anthropic/claude-haiku-4-5",
        "openai/gpt-4.1-mini",
        "openai/gpt-4o-mini",
    ]
    rows = explained(api(alice), messages=[{"content": "Hi"}])["candidates"]
    [row] = [row for row in rows if row["model"] == "gpt-4o-mini"]
    assert (row["is_healthy"], row["held_back"]) == (False, "its breaker is open")
