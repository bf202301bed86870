"""Variants of an agent: another prompt, model list or temperature for some of its conversations.

Who tries what is decided in an upper room; `settings.AGENT_VARIANTS` names who is asked. Unset, or failing: the agent
answers as it is.
"""

import copy
import hashlib
from dataclasses import dataclass
from functools import cache
from typing import Protocol
from uuid import UUID

import structlog
from django.conf import settings
from django.utils.module_loading import import_string

from agents.models import Agent, Run
from agents.prompts import Prompt

log = structlog.get_logger(__name__)

VERSION_CHARS = 12


@dataclass(frozen=True, slots=True)
class Variant:
    """What differs from the agent; None stays as it is."""

    id: UUID
    system_prompt: str | None = None
    models: tuple[str, ...] | None = None
    temperature: float | None = None


class Chooser(Protocol):
    def knows(self) -> bool:
        """Whether `choose` answers from memory now and for a moment longer: it may be asked on the event loop."""
        ...

    def choose(self, agent_id: UUID, *, session_id: UUID | None, user_id: UUID | None) -> Variant | None:
        """The variant that this conversation is served by, the same one every time; None: the agent as it is."""
        ...

    def get(self, variant_id: UUID) -> Variant | None:
        """The variant that a run was begun with, for whoever goes on with it."""
        ...


@cache
def _chooser(name: str) -> Chooser | None:
    found: Chooser | None = import_string(name)() if name else None
    return found


def choose(agent: Agent, *, session_id: UUID | None, user_id: UUID | None) -> Variant | None:
    """Ask the configured chooser. An experiment may never keep an agent from answering."""
    chooser = _chooser(settings.AGENT_VARIANTS)
    if chooser is None:
        return None
    try:
        return chooser.choose(agent.id, session_id=session_id, user_id=user_id)
    except Exception:
        log.exception("variant_not_chosen", agent=str(agent.id))
        return None


def knows() -> bool:
    """Whether `choose` needs no query now."""
    chooser = _chooser(settings.AGENT_VARIANTS)
    return chooser is None or chooser.knows()


def get(variant_id: UUID | None) -> Variant | None:
    chooser = _chooser(settings.AGENT_VARIANTS)
    return chooser.get(variant_id) if chooser and variant_id else None


def varied(agent: Agent, variant: Variant | None) -> Agent:
    """The agent as the variant has it: a copy that is never saved."""
    if variant is None:
        return agent
    found = copy.copy(agent)
    if variant.system_prompt is not None:
        found.system_prompt = variant.system_prompt
    if variant.models is not None:
        found.models = list(variant.models)
    if variant.temperature is not None:
        found.temperature = variant.temperature
    return found


def prompt_version(system_prompt: str) -> str:
    """A short name for a system prompt: the same text has the same, on every machine. Empty for none."""
    text = system_prompt.encode("utf-8", "surrogatepass")
    return hashlib.sha256(text).hexdigest()[:VERSION_CHARS] if system_prompt else ""


def prompt_of(run: Run) -> str:
    """The system prompt that this run was begun with. Empty for none, and for one that nobody kept."""
    variant = get(run.variant)
    if variant and variant.system_prompt and prompt_version(variant.system_prompt) == run.prompt_version:
        return variant.system_prompt
    kept = Prompt.objects.filter(agent_id=run.agent_id, version=run.prompt_version).first()
    return kept.text if kept else ""
