"""Servers of the chat wire differ: each is told how much to think in its own words."""

from dataclasses import replace
from typing import Any

import pytest

from llm.messages import Message, Request, Text, Thinking, Thought, ToolCall
from llm.registry import PROVIDERS
from llm.thinking import fit, split
from llm.wires.chat_dialects import dialect_of
from llm.wires.openai_chat import body_of
from tests.llm.conftest import asking

USUAL = {"model", "messages", "stream", "stream_options"}


def fields_of(name: str, *, streamed: bool = True) -> dict[str, Any]:
    """What a model whose name carries a suffix is sent beside the usual."""
    named = split(name)
    provider, _, model = named.model.partition("/")
    thinking = fit(named.thinking, provider, model)
    body = body_of(replace(asking(thinking=thinking), model=model), provider, streamed=streamed)
    return {field: value for field, value in body.items() if field not in USUAL}


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("openai/gpt-5(high)", {"reasoning_effort": "high"}),
        ("openai/gpt-5.1(none)", {"reasoning_effort": "none"}),
        ("deepseek/deepseek-v4-pro(max)", {"thinking": {"type": "enabled"}, "reasoning_effort": "max"}),
        ("deepseek/deepseek-v4-pro(8192)", {"thinking": {"type": "enabled"}, "reasoning_effort": "low"}),
        ("deepseek/deepseek-v4-flash(none)", {"thinking": {"type": "disabled"}}),
        ("deepseek/deepseek-chat(high)", {}),
        ("moonshot/kimi-k2.6(high)", {"thinking": {"type": "enabled"}}),
        ("moonshot/kimi-k2.6(none)", {"thinking": {"type": "disabled"}}),
        ("moonshot/kimi-k2.6(auto)", {"thinking": {"type": "enabled"}}),
        ("moonshot/kimi-k3(low)", {"reasoning_effort": "low"}),
        ("moonshot/kimi-k2-thinking(low)", {}),
        ("glm/glm-4.6(none)", {"thinking": {"type": "disabled"}}),
        ("glm/glm-4.6(high)", {"thinking": {"type": "enabled"}}),
        ("zhipu/glm-5.3(max)", {"reasoning_effort": "max"}),
        ("glm/glm-5.3(none)", {"reasoning_effort": "low"}),
        ("qwen/qwen-plus(high)", {"enable_thinking": True, "thinking_budget": 24_576}),
        ("qwen/qwen-plus(none)", {"enable_thinking": False}),
        ("qwen/qwen-plus(auto)", {"enable_thinking": True}),
        ("qwen/qwen-max(high)", {}),
        ("openrouter/anthropic/claude-sonnet-4.5(8192)", {"reasoning": {"max_tokens": 8192}}),
        ("openrouter/openai/gpt-99(high)", {"reasoning": {"effort": "high"}}),
        ("openrouter/openai/gpt-99(none)", {"reasoning": {"enabled": False}}),
        ("openrouter/openai/gpt-99(auto)", {"reasoning": {"enabled": True}}),
        ("openrouter/openai/gpt-99(0)", {"reasoning": {"enabled": False}}),
        ("together/zai-org/GLM-5.3(none)", {"reasoning": {"enabled": False}}),
        ("together/openai/gpt-oss-120b(low)", {"reasoning_effort": "low"}),
        ("groq/openai/gpt-oss-20b(low)", {"reasoning_effort": "low"}),
        ("groq/qwen/qwen3-32b(none)", {"reasoning_effort": "none", "reasoning_format": "parsed"}),
        ("groq/qwen/qwen3-32b(high)", {"reasoning_effort": "default", "reasoning_format": "parsed"}),
        ("groq/qwen/qwen3-32b", {"reasoning_format": "parsed"}),
        ("mistral/mistral-small-latest(high)", {"reasoning_effort": "high"}),
        ("mistral/mistral-small-latest(none)", {"reasoning_effort": "none"}),
        ("minimax/MiniMax-M3(none)", {"thinking": {"type": "disabled"}, "reasoning_split": True}),
        ("minimax/MiniMax-M3(high)", {"thinking": {"type": "adaptive"}, "reasoning_split": True}),
        ("minimax/MiniMax-M2.7(none)", {"reasoning_split": True}),
        ("vllm/mine(none)", {"chat_template_kwargs": {"enable_thinking": False}}),
        ("vllm/mine(high)", {"chat_template_kwargs": {"enable_thinking": True}, "reasoning_effort": "high"}),
        ("xai/grok-3-mini(high)", {"reasoning_effort": "high"}),
        ("custom/mine(high)", {"reasoning_effort": "high"}),
    ],
)
def test_each_server_is_told_in_its_own_words(name: str, sent: dict[str, Any]) -> None:
    assert fields_of(name) == sent


def test_qwens_open_models_do_not_think_in_answers_that_are_not_streamed() -> None:
    assert fields_of("qwen/qwen3-32b(high)", streamed=False)["enable_thinking"] is False
    assert fields_of("qwen/qwen3-32b(high)")["enable_thinking"] is True
    assert fields_of("qwen/qwen-plus(high)", streamed=False)["enable_thinking"] is True


def test_every_providers_dialect_is_known() -> None:
    for provider in PROVIDERS:
        assert dialect_of(provider).words is not None


def test_the_fitted_setting_replaces_the_callers_own_words() -> None:
    asked = asking(thinking=Thinking(level="none"), extra={"reasoning_effort": "high"})
    body = body_of(replace(asked, model="deepseek-v4-pro"), "deepseek")
    assert "reasoning_effort" not in body
    assert body["thinking"] == {"type": "disabled"}


def test_thoughts_go_back_beside_the_calls_only() -> None:
    thought = Thought("deepseek/deepseek-v4-pro", {"reasoning_content": "let me see"})
    called = Message("assistant", (thought, Text("Wait"), ToolCall("c1", "look", "{}")))
    said = Message("assistant", (thought, Text("Done")))
    body = body_of(Request("deepseek-v4-pro", (Message("user", (Text("hi"),)), called, said)), "deepseek")
    assert [message.get("reasoning_content") for message in body["messages"]] == [None, "let me see", None]
