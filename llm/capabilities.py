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
    levels there is nothing to set: it never thinks, or `always` as it likes.
    """

    minimum: int = 0
    maximum: int = 0
    zero: bool = False
    dynamic: bool = False
    levels: tuple[str, ...] = ()
    always: bool = False

    @property
    def thinks(self) -> bool:
        return self.always or self.has_range or bool(self.levels)

    @property
    def has_range(self) -> bool:
        return self.maximum > 0


NOTHING_TO_SET = Ability()
_ALWAYS = Ability(always=True)
# On or off, and nothing between.
_SWITCH = Ability(zero=True, dynamic=True, levels=("high",))
# https://www.alibabacloud.com/help/en/model-studio/deep-thinking
_QWEN_MOST = 38_912
_GLM = Ability(levels=("low", "high", "max"))
_O_SERIES = Ability(levels=("low", "medium", "high"))
_CLAUDE = Ability(1024, 128_000, zero=True)
_GEMINI_3_LEVELS = ("minimal", "low", "medium", "high")

# (provider or "" for any, ids, ability). Sources: OpenAI's guide to reasoning, Anthropic's to extended and adaptive
# thinking, Google's to thinking, and those of DeepSeek, xAI, Moonshot, Alibaba, Z.AI, MiniMax, Groq and Mistral.
_THINKING: tuple[tuple[str, str, Ability], ...] = (
    ("openai", r"o1-(mini|preview).*", _ALWAYS),
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
    ("deepseek", r"deepseek-chat", NOTHING_TO_SET),
    ("deepseek", r"deepseek-reasoner", _ALWAYS),
    ("deepseek", r"deepseek-(v[4-9].*|flash|pro)", Ability(zero=True, levels=("low", "high", "max"))),
    ("xai", r"grok-3-mini.*", Ability(levels=("low", "high"))),
    ("xai", r"grok-([23](-fast)?|4-1?-?fast-non-reasoning)", NOTHING_TO_SET),
    ("xai", r"grok-(4(-0709)?|4-1?-?fast.*|code-fast-1)", _ALWAYS),
    ("moonshot", r"kimi-k2-thinking.*", _ALWAYS),
    ("moonshot", r"kimi-k2\.\d.*", _SWITCH),
    ("moonshot", r"kimi-k3.*", Ability(levels=("low", "high", "max"))),
    ("moonshot", r"kimi-k2(-turbo.*|-0\d+.*)?|moonshot-v1.*", NOTHING_TO_SET),
    ("qwen", r"qwen-max.*|qwen3?-coder.*|qwen3-.*-instruct.*|qwen-vl.*|qwen2.*", NOTHING_TO_SET),
    ("qwen", r"qwen3-.*-thinking.*|qwq.*", Ability(1, _QWEN_MOST, dynamic=True)),
    ("qwen", r"qwen(-(plus|turbo|flash)|3).*", Ability(1, _QWEN_MOST, zero=True, dynamic=True)),
    ("groq", r"qwen3.*", _SWITCH),
    ("mistral", r"mistral-(small-(latest|2603)|medium-3-5).*", Ability(zero=True, levels=("high",))),
    ("mistral", r"mistral-large-4.*", Ability(zero=True, levels=("low", "medium", "high"))),
    ("minimax", r"minimax-m3.*", _SWITCH),
    ("minimax", r"minimax-m[12].*", _ALWAYS),
    # The newest always think: `none` would be taken for the most.
    ("zhipu", r"glm-5\.[3-9].*", _GLM),
    ("glm", r"glm-5\.[3-9].*", _GLM),
    ("zhipu", r"glm-(5(\.1)?|4\.[5-9]).*", _SWITCH),
    ("glm", r"glm-(5(\.1)?|4\.[5-9]).*", _SWITCH),
    ("mistral", r"magistral.*", _ALWAYS),
    ("mistral", r"(mistral-(large|nemo|tiny)|codestral|devstral|ministral|pixtral).*", NOTHING_TO_SET),
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


@dataclass(frozen=True, slots=True)
class Skill:
    """What a model is good for. `quality` from 1 (small) over 2 (flash-class) and 3 (full) to 4 (the best).

    `context` counts only where the price list does not know the window.
    """

    quality: int = 2
    sees: bool = False
    tools: bool = True
    json: bool = True
    context: int = 128_000


# (ids, skill); for the models that `auto` may choose, and their relatives.
_SKILLS: tuple[tuple[str, Skill], ...] = (
    (r"smollm.*", Skill(1, context=16_384)),
    # Those of a family that see, before the rest of it.
    (r".*(-vl|vision|llava|omni|llama-4|glm-\d(\.\d)?v).*|(pixtral|gemma-?[34]|ministral).*", Skill(2, sees=True)),
    (r"qwen3\.[5-9].*", Skill(3, sees=True, context=131_072)),
    (r"kimi-k2\.[5-9].*", Skill(3, sees=True, context=262_144)),
    (r"o[13]-mini.*|o1-preview.*", Skill(3)),
    (r"gpt-3\.5.*|llama.*-?8b.*|.*-[1-8]b(-.*)?", Skill(1, context=16_385)),
    (r"gpt-4\.1-nano.*|gpt-5(\.\d+)?-nano.*", Skill(1, sees=True)),
    (r"gpt-(4o|4\.1)-mini.*", Skill(2, sees=True)),
    (r"gpt-5(\.\d+)?-mini.*|o[34]-mini.*", Skill(3, sees=True)),
    (r"gpt-4o.*|gpt-4\.1.*|gpt-4-turbo.*", Skill(3, sees=True)),
    (r"gpt-[56].*|o[134].*", Skill(4, sees=True, context=400_000)),
    (r"gpt-oss-120b", Skill(3)),
    (r"gpt-oss.*", Skill(2)),
    (r"claude-3-haiku.*", Skill(1, sees=True, context=200_000)),
    (r"claude-.*haiku.*", Skill(2, sees=True, context=200_000)),
    (r"claude-.*sonnet.*", Skill(3, sees=True, context=200_000)),
    (r"claude-.*opus.*", Skill(4, sees=True, context=200_000)),
    (r"gemini-.*flash-lite.*", Skill(1, sees=True, context=1_000_000)),
    (r"gemini-.*flash.*", Skill(2, sees=True, context=1_000_000)),
    (r"gemini-.*pro.*", Skill(4, sees=True, context=1_048_576)),
    (r"deepseek-(reasoner|.*pro).*", Skill(3, context=64_000)),
    (r"deepseek-.*", Skill(2, context=64_000)),
    (r"llama-3\.3-70b.*", Skill(2)),
    (r"mistral-(small|medium).*", Skill(2, sees=True)),
    (r"mistral-large.*", Skill(3, sees=True)),
    (r"grok-code.*", Skill(2, context=256_000)),
    (r"grok-.*", Skill(4, sees=True, context=256_000)),
    (r"kimi-k2.*", Skill(3, sees=False, context=131_072)),
    (r"kimi-k3.*", Skill(4, sees=True, context=1_000_000)),
    (r"qwen-plus.*", Skill(2)),
    (r"qwen.*(max|235b).*", Skill(3, context=32_768)),
    (r"glm-.*flash.*", Skill(2, context=200_000)),
    (r"glm-.*", Skill(3, context=200_000)),
    (r"minimax-m[12].*", Skill(3, context=200_000)),
    (r"minimax-.*", Skill(3, sees=True, context=200_000)),
)
# A model that no row knows is asked for by name only, and is not held back then.
_UNKNOWN = Skill()


def skill_of(model: str) -> Skill:
    """What this model is good for; a cautious guess for one that is not known."""
    return known_skill_of(model) or _UNKNOWN


@lru_cache(maxsize=4096)
def known_skill_of(model: str) -> Skill | None:
    name = bare(model)
    return next((skill for ids, skill in _SKILLS if re.fullmatch(ids, name)), None)
