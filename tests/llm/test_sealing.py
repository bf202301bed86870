import base64
import uuid

import pytest
from pytest_django import Settings

from atom.ground.home import new_encryption_key
from llm.sealing import BadKeyRing, Undecryptable, is_current, seal, unseal

WORKSPACE = uuid.uuid4()
SECRET = "sk-canary-ü-0123456789"


def sealed() -> bytes:
    return seal(SECRET, workspace_id=WORKSPACE, provider="openai")


def test_a_sealed_secret_opens_again() -> None:
    assert unseal(sealed(), workspace_id=WORKSPACE, provider="openai") == SECRET


def test_a_sealed_secret_is_not_readable_and_never_the_same_twice() -> None:
    assert b"canary" not in sealed()
    assert sealed() != sealed()


@pytest.mark.parametrize(("workspace_id", "provider"), [(uuid.uuid4(), "openai"), (WORKSPACE, "groq")])
def test_a_row_moved_to_another_tenant_or_provider_does_not_open(workspace_id: uuid.UUID, provider: str) -> None:
    with pytest.raises(Undecryptable):
        unseal(sealed(), workspace_id=workspace_id, provider=provider)


@pytest.mark.parametrize("place", [0, 5, 10, 25, -1])
def test_an_altered_blob_does_not_open(place: int) -> None:
    blob = bytearray(sealed())
    blob[place] ^= 1
    with pytest.raises(Undecryptable):
        unseal(bytes(blob), workspace_id=WORKSPACE, provider="openai")


@pytest.mark.parametrize("length", [0, 8, 15, 21])
def test_a_blob_cut_short_does_not_open(length: int) -> None:
    with pytest.raises(Undecryptable):
        unseal(sealed()[:length], workspace_id=WORKSPACE, provider="openai")


def test_the_first_key_of_the_ring_seals_and_all_open(settings: Settings) -> None:
    old, new = new_encryption_key(), new_encryption_key()
    settings.ATOM_ENCRYPTION_KEYS = (old,)
    before = sealed()
    settings.ATOM_ENCRYPTION_KEYS = (new, old)
    assert unseal(before, workspace_id=WORKSPACE, provider="openai") == SECRET
    assert not is_current(before)
    assert is_current(sealed())
    settings.ATOM_ENCRYPTION_KEYS = (new,)
    with pytest.raises(Undecryptable, match="not in ATOM_ENCRYPTION_KEYS"):
        unseal(before, workspace_id=WORKSPACE, provider="openai")


def test_a_ring_key_in_the_other_alphabet_is_the_same_key(settings: Settings) -> None:
    raw = b"\xfb\xff" * 16
    settings.ATOM_ENCRYPTION_KEYS = (base64.b64encode(raw).decode(),)
    before = sealed()
    settings.ATOM_ENCRYPTION_KEYS = (base64.urlsafe_b64encode(raw).decode(),)
    assert unseal(before, workspace_id=WORKSPACE, provider="openai") == SECRET


@pytest.mark.parametrize("ring", [(), ("short",), ("not base64!",), (base64.b64encode(b"x" * 16).decode(),)])
def test_a_bad_key_ring_is_an_error_that_says_so(settings: Settings, ring: tuple[str, ...]) -> None:
    settings.ATOM_ENCRYPTION_KEYS = ring
    with pytest.raises(BadKeyRing, match="ATOM_ENCRYPTION_KEYS"):
        sealed()
