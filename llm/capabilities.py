"""What models can, as data: how they think, what they see, how good they are, how much they read.

Ids are matched without the path before them and whatever their case, so that a model is the same one wherever it is
served. The first row that matches counts; a model that no row knows is passed on as it was asked for.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

from llm.registry import LOCAL

# From little to much.
LEVELS = ("minimal", "low", "medium", "high", "xhigh", "max")


@dataclass(frozen=True, slots=True)
class Ability:
    """How a model's thinking is set: by a budget in tokens (`minimum` to `maximum`), by `levels`, or either way.

    `zero`: it can be told not to think; `dynamic`: it can be told to think as it likes. With neither a range nor
    levels there is nothing to set: it never thinks, or always as it likes.
    """

    minimum: int = 0
    maximum: int = 0
    zero: bool = False
    dynamic: bool = False
    levels: tuple[str, ...] = ()

    @property
    def has_range(self) -> bool:
        return self.maximum > 0


NOTHING_TO_SET = Ability()
_O_SERIES = Ability(levels=("low", "medium", "high"))
_CLAUDE = Ability(1024, 128_000, zero=True)
_GEMINI_3_LEVELS = ("minimal", "low", "medium", "high")

# (provider or "" for any, ids, ability). Sources: OpenAI's guide to reasoning, Anthropic's to extended and adaptive
# thinking, Google's to thinking, and those of DeepSeek, xAI, Moonshot and Mistral.
_THINKING: tuple[tuple[str, str, Ability], ...] = (
    ("openai", r"o1-(mini|preview).*", NOTHING_TO_SET),
    ("openai", r"o[134](-(mini|pro))?(-20.*)?", _O_SERIES),
    ("openai", r"gpt-5(\.\d+)?-chat.*", NOTHING_TO_SET),
    ("openai", r"gpt-5-pro.*", Ability(levels=("high",))),
    ("openai", r"gpt-5-codex.*", _O_SERIES),
    ("openai", r"gpt-5(-mini|-nano)?(-20.*)?", Ability(levels=("minimal", "low", "medium", "high"))),
    ("openai", r"gpt-5\.1-codex-max", Ability(levels=("low", "medium", "high", "xhigh"))),
    ("openai", r"gpt-5\.1-codex(-mini)?", _O_SERIES),
    ("openai", r"gpt-5\.1(-20.*)?", Ability(zero=True, levels=("low", "medium", "high"))),
    ("openai", r"gpt-5\.[234]-pro.*", Ability(levels=("medium", "high", "xhigh"))),
    ("openai", r"gpt-5\.[23]-codex.*", Ability(levels=("low", "medium", "high", "xhigh"))),
    ("openai", r"gpt-5\.[24](-mini|-nano)?(-20.*)?", Ability(zero=True, levels=("low", "medium", "high", "xhigh"))),
    ("anthropic", r"claude-(haiku|sonnet|opus)-4-5.*", _CLAUDE),
    (
        "anthropic",
        r"claude-(sonnet|opus)-4-6.*",
        Ability(1024, 128_000, zero=True, dynamic=True, levels=("low", "medium", "high", "max")),
    ),
    (
        "anthropic",
        r"claude-opus-4-[78].*",
        Ability(zero=True, dynamic=True, levels=("low", "medium", "high", "xhigh", "max")),
    ),
    ("anthropic", r"claude-opus-4(-[01])?(-20.*)?", Ability(1024, 32_000, zero=True)),
    ("anthropic", r"claude-(sonnet-4(-0)?|3-7-sonnet)(-20.*|-latest)?", Ability(1024, 64_000, zero=True)),
    ("gemini", r"gemini-.*(image|tts|live|embedding).*", NOTHING_TO_SET),
    ("gemini", r"gemini-2\.5-pro.*", Ability(128, 32_768, dynamic=True)),
    ("gemini", r"gemini-2\.5-flash-lite.*", Ability(512, 24_576, zero=True, dynamic=True)),
    ("gemini", r"gemini-2\.5-flash.*", Ability(0, 24_576, zero=True, dynamic=True)),
    ("gemini", r"gemini-3-pro.*", Ability(128, 32_768, dynamic=True, levels=("low", "high"))),
    ("gemini", r"gemini-3\.1-pro.*", Ability(128, 32_768, dynamic=True, levels=("low", "medium", "high"))),
    ("gemini", r"gemini-3(\.1)?-flash.*", Ability(128, 32_768, dynamic=True, levels=_GEMINI_3_LEVELS)),
    ("deepseek", r"deepseek-(chat|reasoner)", NOTHING_TO_SET),
    # Lower words are taken for these two; not to think needs a field that the wire does not have.
    ("deepseek", r"deepseek-v4.*", Ability(levels=("high", "max"))),
    ("xai", r"grok-3-mini.*", Ability(levels=("low", "high"))),
    ("xai", r"grok-(2|3|4|4-0709|4-1?-?fast.*|code-fast-1)", NOTHING_TO_SET),
    ("moonshot", r"kimi-k2(-thinking.*|-turbo.*|-0\d+.*)?|moonshot-v1.*", NOTHING_TO_SET),
    ("qwen", r"qwen-max.*|qwen3?-coder.*", NOTHING_TO_SET),
    ("mistral", r"(mistral-(large|medium|nemo|tiny)|magistral|codestral|devstral|ministral|pixtral).*", NOTHING_TO_SET),
    (LOCAL, r".*", NOTHING_TO_SET),
    ("", r"gpt-oss-.*", _O_SERIES),
    # Whoever serves them.
    ("", r"(chatgpt|gpt-[34]).*", NOTHING_TO_SET),
    ("", r"claude-(v?[12]|instant|3[.-]5?-?(haiku|sonnet|opus)).*", NOTHING_TO_SET),
    ("", r"gemini-(1\.|2\.0|pro|flash-1).*|gemma-?[123].*", NOTHING_TO_SET),
    ("", r"(meta-)?llama.*|mixtral.*|smollm.*", NOTHING_TO_SET),
)


@lru_cache(maxsize=4096)
def thinking_of(provider: str, model: str) -> Ability | None:
    """How this model's thinking is set; None for a model that is not known."""
    name = bare(model)
    for row_provider, ids, ability in _THINKING:
        if row_provider in ("", provider) and re.fullmatch(ids, name):
            return ability
    return None


def bare(model: str) -> str:
    """The id without the path that some providers put before it."""
    return model.rpartition("/")[2].lower()
