"""How servers of the chat wire differ: their words for thinking, and the thoughts that they want back.

A provider's row in the registry names its dialect; without one a server is asked in OpenAI's words.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from llm.capabilities import bare, thinking_of
from llm.messages import Thinking
from llm.registry import PROVIDERS

# From a setting that was fitted to the model (of the provider), to the fields of the body.
Words: TypeAlias = Callable[[Thinking, str, str], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Dialect:
    """`thoughts` is the field in which a message with tool calls carries its thoughts back; `always` is always sent.

    `whole` is sent besides when the answer is not streamed.
    """

    words: Words
    thoughts: str = ""
    always: Callable[[str], dict[str, Any]] = lambda _: {}
    whole: Callable[[str], dict[str, Any]] = lambda _: {}


def dialect_of(provider: str) -> Dialect:
    row = PROVIDERS.get(provider)
    return _DIALECTS[row.dialect if row is not None else ""]


def _is_off(thinking: Thinking) -> bool:
    return thinking.level == "none" or thinking.budget_tokens == 0


def _effort(thinking: Thinking, _provider: str, _model: str) -> dict[str, Any]:
    """OpenAI's word: https://platform.openai.com/docs/api-reference/chat. It has none for a budget."""
    return {} if thinking.level is None else {"reasoning_effort": thinking.level}


def _switch(thinking: Thinking, provider: str, model: str) -> dict[str, Any]:
    """On or off by `thinking.type`, how much by `reasoning_effort`, each for the models that have it.

    https://api-docs.deepseek.com/guides/thinking_mode, https://docs.z.ai/guides/capabilities/thinking,
    https://platform.moonshot.ai/docs/guide/use-kimi-k2-thinking-model.
    """
    ability = thinking_of(provider, model)
    fields: dict[str, Any] = {}
    if ability is None or ability.zero:
        fields["thinking"] = {"type": "disabled" if _is_off(thinking) else "enabled"}
    if thinking.level not in (None, "none", "auto") and (ability is None or len(ability.levels) > 1):
        fields["reasoning_effort"] = thinking.level
    return fields


def _qwen(thinking: Thinking, _provider: str, _model: str) -> dict[str, Any]:
    """https://www.alibabacloud.com/help/en/model-studio/deep-thinking: a switch and a budget."""
    if _is_off(thinking):
        return {"enable_thinking": False}
    budget = thinking.budget_tokens
    return {"enable_thinking": True, **({"thinking_budget": budget} if budget is not None and budget > 0 else {})}


def _qwen_whole(model: str) -> dict[str, Any]:
    """Qwen's open models think in streams only and refuse to otherwise: a plain answer beats a refusal."""
    name = bare(model)
    return {"enable_thinking": False} if name.startswith("qwen3-") and "thinking" not in name else {}


def _openrouter(thinking: Thinking, _provider: str, _model: str) -> dict[str, Any]:
    """https://openrouter.ai/docs/use-cases/reasoning-tokens: a level or a budget, in one object."""
    if thinking.budget_tokens is not None and thinking.budget_tokens > 0:
        return {"reasoning": {"max_tokens": thinking.budget_tokens}}
    if _is_off(thinking):
        return {"reasoning": {"enabled": False}}
    if thinking.level in (None, "auto"):
        return {"reasoning": {"enabled": True}}
    return {"reasoning": {"effort": thinking.level}}


def _together(thinking: Thinking, provider: str, model: str) -> dict[str, Any]:
    """https://docs.together.ai/docs/inference/chat/reasoning: a switch for hybrid models, a level for the others."""
    if _is_off(thinking) or thinking.level in (None, "auto"):
        return {"reasoning": {"enabled": not _is_off(thinking)}}
    return _effort(thinking, provider, model)


def _groq(thinking: Thinking, _provider: str, model: str) -> dict[str, Any]:
    """https://console.groq.com/docs/reasoning: Qwen knows `none` and `default`, gpt-oss levels."""
    if not bare(model).startswith("qwen"):
        return _effort(thinking, "", model)
    return {"reasoning_effort": "none" if _is_off(thinking) else "default"}


def _groq_always(model: str) -> dict[str, Any]:
    # Else Qwen's thoughts come between tags in the midst of its text; gpt-oss refuses the field.
    return {"reasoning_format": "parsed"} if bare(model).startswith("qwen") else {}


def _minimax(thinking: Thinking, _provider: str, _model: str) -> dict[str, Any]:
    """https://platform.minimax.io/docs/api-reference/text-openai-api: on is called adaptive."""
    return {"thinking": {"type": "disabled" if _is_off(thinking) else "adaptive"}}


def _minimax_always(_model: str) -> dict[str, Any]:
    # Else its thoughts come between tags in the midst of its text.
    return {"reasoning_split": True}


def _template(thinking: Thinking, provider: str, model: str) -> dict[str, Any]:
    """A switch of the model's chat template: https://docs.vllm.ai/en/stable/features/reasoning_outputs/.

    The templates that know no switch ignore it, the models that know no level too.
    """
    level = {} if thinking.level in (None, "none", "auto") else _effort(thinking, provider, model)
    return {"chat_template_kwargs": {"enable_thinking": not _is_off(thinking)}, **level}


_DIALECTS = {
    "": Dialect(_effort),
    # All three refuse a call without the thoughts that led to it, or think worse.
    "switch": Dialect(_switch, thoughts="reasoning_content"),
    "qwen": Dialect(_qwen, whole=_qwen_whole),
    "openrouter": Dialect(_openrouter, thoughts="reasoning_details"),
    "together": Dialect(_together),
    "groq": Dialect(_groq, always=_groq_always),
    "minimax": Dialect(_minimax, thoughts="reasoning_details", always=_minimax_always),
    "template": Dialect(_template),
}
