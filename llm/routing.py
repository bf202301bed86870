"""From what a caller names as `model` to whom to call, in order."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from atom.ground.errors import ModelNotFound
from llm.endpoints import Unusable, Usable, endpoints_of, usable
from llm.errors import NoProvider
from llm.keyring import OpenKey, open_keys
from llm.messages import Endpoint
from llm.prices import MAX_MODEL_CHARS, provider_of
from llm.registry import LOCAL, PROVIDERS, Provider

AUTO = "auto"


@dataclass(frozen=True, slots=True)
class Candidate:
    """One call that could be made. `key_id` is None for the environment's key."""

    provider: str
    wire: str
    model: str
    endpoint: Endpoint
    key_id: UUID | None


def candidates(workspace_id: UUID, model: str) -> list[Candidate]:
    """Whom to call for `provider/model`, a bare model id or `auto`; never empty.

    Raises ModelNotFound for names that mean nothing, NoProvider (with what to set) when nothing is configured.
    May query the database: call it through `in_db`.
    """
    return choose(open_keys(workspace_id), model)


def choose(keys: Sequence[OpenKey], model: str) -> list[Candidate]:
    """`candidates` for keys that are at hand."""
    if model == AUTO:
        return _automatic(keys)
    row, name = _named(model)
    found = endpoints_of(row, keys)
    chosen = [_candidate(row, name, one) for one in found if isinstance(one, Usable)]
    if not chosen:
        raise NoProvider(" ".join(one.reason for one in found if isinstance(one, Unusable)))
    return chosen


def _named(model: str) -> tuple[Provider, str]:
    if not model or len(model) > MAX_MODEL_CHARS:
        raise ModelNotFound("There is no such model.", param="model")
    prefix, slash, name = model.partition("/")
    if slash:
        if prefix not in PROVIDERS or not name:
            raise ModelNotFound(f"There is no model '{model}': '{prefix}' is not a known provider.", param="model")
        return PROVIDERS[prefix], name
    provider = provider_of(model)
    if provider is None:
        raise ModelNotFound(f"There is no model '{model}'. Write provider/model to pass a new id on.", param="model")
    return PROVIDERS[provider], model


def _automatic(keys: Sequence[OpenKey]) -> list[Candidate]:
    """The default models of the providers that are usable; the registry's order is the order of preference."""
    found = [
        _candidate(row, row.default_model, one)
        for row in PROVIDERS.values()
        if row.default_model is not None
        for one in usable(row, keys)
    ]
    if not found:
        raise NoProvider("No model is configured. Set OPENAI_API_KEY (or another provider's), or add a provider key.")
    # The demo model stands in for nobody: it would answer where an error tells more.
    return [one for one in found if one.provider != LOCAL] or found


def _candidate(row: Provider, model: str, found: Usable) -> Candidate:
    return Candidate(row.name, row.wire_of(model), model, found.endpoint, found.key_id)
