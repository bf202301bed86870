"""Providers as data. A new provider is a row; `<NAME>_API_KEY` and `<NAME>_BASE_URL` follow from its name."""

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Provider:
    """`base_url` is empty where only the installation knows it; `prices` is the provider's id in genai-prices.

    The first of `models` is the default. Any other id is passed on as it is. Models that match `responses_models`
    are called over OpenAI's responses wire, at the same address with the same key. `dialect` says how its server of the
    chat wire differs, see `llm.wires.chat_dialects`.
    """

    name: str
    wire: str
    base_url: str = ""
    models: tuple[str, ...] = ()
    prices: str = ""
    needs_key: bool = True
    responses_models: str = ""
    dialect: str = ""

    @property
    def takes_budgets(self) -> bool:
        """Whether it has a word for a budget of thinking; OpenAI's wires have one for levels only."""
        return not self.wire.startswith("openai") or self.dialect in ("qwen", "openrouter")

    def wire_of(self, model: str) -> str:
        """The wire that this model is called over."""
        if self.responses_models and re.fullmatch(self.responses_models, model):
            return "openai_responses"
        return self.wire

    @property
    def auth(self) -> str:
        """How its key travels; without a key none does."""
        return _AUTH[self.wire]

    @property
    def key_env(self) -> str:
        return f"{self.name.upper()}_API_KEY"

    @property
    def base_url_env(self) -> str:
        return f"{self.name.upper()}_BASE_URL"

    @property
    def default_model(self) -> str | None:
        return self.models[0] if self.models else None


LOCAL = "local"
# By wire: the header that carries the key.
_AUTH = {
    "openai_chat": "bearer",
    "openai_responses": "bearer",
    "anthropic_messages": "x-api-key",
    "gemini": "x-goog-api-key",
}
_CHAT = "openai_chat"
# OpenAI serves these over its responses wire only: https://platform.openai.com/docs/models
_RESPONSES_ONLY = r"(o1|o3|gpt-5(\.\d+)?)-pro.*|.*codex.*|.*-deep-research.*|computer-use-.*"

# In this order `auto` looks for one that is usable; the demo model comes last.
_ROWS = (
    Provider(
        "openai",
        _CHAT,
        "https://api.openai.com/v1",
        ("gpt-4o-mini", "gpt-4o", "gpt-4.1", "gpt-4.1-mini"),
        "openai",
        responses_models=_RESPONSES_ONLY,
    ),
    # The base URLs of this one and of gemini are roots, as the official clients take them.
    Provider(
        "anthropic",
        "anthropic_messages",
        "https://api.anthropic.com",
        ("claude-haiku-4-5", "claude-sonnet-4-5", "claude-opus-4-5"),
        "anthropic",
    ),
    Provider(
        "gemini",
        "gemini",
        "https://generativelanguage.googleapis.com",
        ("gemini-2.5-flash", "gemini-2.5-flash-lite", "gemini-2.5-pro"),
        "google",
    ),
    Provider(
        "deepseek",
        _CHAT,
        "https://api.deepseek.com/v1",
        ("deepseek-chat", "deepseek-reasoner"),
        "deepseek",
        dialect="switch",
    ),
    Provider(
        "groq",
        _CHAT,
        "https://api.groq.com/openai/v1",
        ("llama-3.3-70b-versatile", "openai/gpt-oss-20b"),
        "groq",
        dialect="groq",
    ),
    Provider(
        "mistral", _CHAT, "https://api.mistral.ai/v1", ("mistral-small-latest", "mistral-large-latest"), "mistral"
    ),
    Provider("xai", _CHAT, "https://api.x.ai/v1", ("grok-4", "grok-code-fast-1"), "x-ai"),
    Provider("moonshot", _CHAT, "https://api.moonshot.ai/v1", ("kimi-k2.6", "kimi-k3"), "moonshotai", dialect="switch"),
    Provider(
        "qwen",
        _CHAT,
        "https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
        ("qwen-plus", "qwen-max"),
        dialect="qwen",
    ),
    Provider(
        "zhipu",
        _CHAT,
        "https://open.bigmodel.cn/api/paas/v4",
        ("glm-5.3", "glm-5.3-flash"),
        "zhipuai",
        dialect="switch",
    ),
    Provider("glm", _CHAT, "https://api.z.ai/api/paas/v4", ("glm-5.3", "glm-5.3-flash"), "zai", dialect="switch"),
    Provider("minimax", _CHAT, "https://api.minimax.io/v1", ("MiniMax-M2.7",), "minimax", dialect="minimax"),
    Provider("cerebras", _CHAT, "https://api.cerebras.ai/v1", ("gpt-oss-120b",), "cerebras"),
    Provider(
        "fireworks",
        _CHAT,
        "https://api.fireworks.ai/inference/v1",
        ("accounts/fireworks/models/qwen3-235b-a22b",),
        "fireworks",
    ),
    Provider(
        "together",
        _CHAT,
        "https://api.together.xyz/v1",
        ("zai-org/GLM-5.3", "zai-org/GLM-5.3-Flash"),
        "together",
        dialect="together",
    ),
    Provider("nvidia", _CHAT, "https://integrate.api.nvidia.com/v1", ("openai/gpt-oss-120b",)),
    Provider("huggingface", _CHAT, "https://router.huggingface.co/v1", ("openai/gpt-oss-120b",)),
    Provider(
        "openrouter", _CHAT, "https://openrouter.ai/api/v1", ("openai/gpt-4o-mini",), "openrouter", dialect="openrouter"
    ),
    Provider("ollama", _CHAT, needs_key=False),
    Provider("vllm", _CHAT, needs_key=False, dialect="template"),
    Provider("llamacpp", _CHAT, needs_key=False, dialect="template"),
    # Any other server of this wire, by a key of the workspace with its own base URL.
    Provider("custom", _CHAT, needs_key=False),
    # Served by a child of `manage.py up`, which sets LOCAL_BASE_URL and LOCAL_API_KEY.
    # Its model never calls a tool by itself.
    Provider(LOCAL, "emulated_tools", models=("smollm2",), needs_key=False),
)
PROVIDERS = {row.name: row for row in _ROWS}
