"""The tables of `docs/providers.md` say what the registry says.

`python -m tests.llm.test_providers_page` writes them anew.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from llm.capabilities import Ability, skill_of, thinking_of
from llm.registry import LOCAL, PROVIDERS, Provider

PAGE = Path(__file__).resolve().parents[2] / "docs" / "providers.md"
QUALITIES = {1: "small", 2: "flash-class", 3: "full", 4: "best"}


def table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def provider_cells(row: Provider) -> list[str]:
    key = f"`{row.key_env}`" if row.needs_key else f"`{row.key_env}`, not needed"
    wires = [f"`{row.wire}`", *(["`openai_responses`"] if row.responses_models else [])]
    auth = row.auth if row.needs_key else f"{row.auth}, or none"
    return [f"`{row.name}`", key, f"`{row.base_url_env}`", row.base_url or "none: set one", ", ".join(wires), auth]


def thinking_words(ability: Ability | None) -> str:
    if ability is None:
        return "not known: passed on"
    if not ability.thinks:
        return "no"
    said = ["always"] if ability.always else []
    said += [f"{ability.minimum} to {ability.maximum} tokens"] if ability.has_range else []
    said += [", ".join(ability.levels)] if ability.levels else []
    said += ["off"] if ability.zero else []
    return "; ".join(said)


def model_cells(provider: str, model: str) -> list[str]:
    skill = skill_of(model)
    can = [word for word, is_so in (("images", skill.sees), ("tools", skill.tools), ("JSON", skill.json)) if is_so]
    return [
        f"`{provider}/{model}`",
        QUALITIES[skill.quality],
        ", ".join(can),
        thinking_words(thinking_of(provider, model)),
    ]


def tables() -> dict[str, str]:
    """By name: what stands between `<!-- name -->` and `<!-- end -->` on the page."""
    rows = list(PROVIDERS.values())
    of_providers = [provider_cells(row) for row in rows if row.name != LOCAL]
    of_models = [model_cells(row.name, model) for row in rows for model in row.models]
    heading = ("provider", "key", "base URL", "default address", "wire", "authentication")
    return {
        "providers": table(heading, of_providers),
        "models": table(("model", "class", "takes", "thinking"), of_models),
    }


def between(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?<=<!-- {name} -->\n)(.*?)(?=\n<!-- end -->)", re.DOTALL)


@pytest.mark.parametrize("name", ["providers", "models"])
def test_the_tables_of_the_page_say_what_the_registry_says(name: str) -> None:
    found = between(name).search(PAGE.read_text(encoding="utf-8"))
    assert found is not None
    assert found.group() == tables()[name], "write it anew: python -m tests.llm.test_providers_page"


def test_every_variable_that_the_page_names_is_one() -> None:
    text = PAGE.read_text(encoding="utf-8")
    known = {name for row in PROVIDERS.values() for name in (row.key_env, row.base_url_env)}
    named = set(re.findall(r"`([A-Z]+_(?:API_KEY|BASE_URL))`", text))
    assert named <= known
    assert {row.key_env for row in PROVIDERS.values() if row.name != LOCAL} <= named


def write() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for name, rows in tables().items():
        found = between(name).search(text)
        assert found is not None
        text = text[: found.start()] + rows + text[found.end() :]
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write()
