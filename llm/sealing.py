"""Sealing of provider keys: AES-256-GCM under a ring of keys, the first of which seals while all open.

A blob is: version (1 byte), id of the ring key (8 bytes), nonce (12 bytes), ciphertext with its tag. Workspace and
provider are associated data, so a row moved to another tenant or provider does not open.
"""

import base64
import binascii
import hashlib
import os
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings

from atom.ground.errors import AtomError

VERSION = b"\x01"
_ID_BYTES = 8
_NONCE_BYTES = 12
_KEY_BYTES = 32


class Undecryptable(AtomError):
    """The secret does not open: its ring key is gone, or the row was moved or altered."""

    code = "undecryptable"


class BadKeyRing(AtomError):
    """ATOM_ENCRYPTION_KEYS is empty or holds something that is not base64 of 32 bytes."""

    code = "bad_key_ring"


def seal(secret: str, *, workspace_id: UUID, provider: str) -> bytes:
    """The secret as it may lie in a database."""
    key = _ring()[0]
    nonce = os.urandom(_NONCE_BYTES)
    sealed = AESGCM(key).encrypt(nonce, secret.encode(), _bound_to(workspace_id, provider))
    return VERSION + _id_of(key) + nonce + sealed


def unseal(blob: bytes, *, workspace_id: UUID, provider: str) -> str:
    """The secret, or Undecryptable."""
    head, nonce, sealed = blob[:9], blob[9 : 9 + _NONCE_BYTES], blob[9 + _NONCE_BYTES :]
    key = next((key for key in _ring() if head == VERSION + _id_of(key)), None)
    if key is None or len(nonce) < _NONCE_BYTES:
        raise Undecryptable("This key was sealed under an encryption key that is not in ATOM_ENCRYPTION_KEYS.")
    try:
        return AESGCM(key).decrypt(nonce, sealed, _bound_to(workspace_id, provider)).decode()
    except InvalidTag as exc:
        raise Undecryptable("This key was altered, or belongs to another workspace or provider.") from exc


def is_current(blob: bytes) -> bool:
    """Whether the first key of the ring has sealed this."""
    return blob[:9] == VERSION + _id_of(_ring()[0])


def _ring() -> list[bytes]:
    try:
        ring = [_decoded(text) for text in settings.ATOM_ENCRYPTION_KEYS]
    except (binascii.Error, ValueError) as exc:
        raise BadKeyRing("ATOM_ENCRYPTION_KEYS must be base64.") from exc
    if not ring or any(len(key) != _KEY_BYTES for key in ring):
        raise BadKeyRing("ATOM_ENCRYPTION_KEYS must hold at least one base64 text of 32 bytes.")
    return ring


def _decoded(text: str) -> bytes:
    """Both alphabets of base64 are taken, as people have them from different tools."""
    return base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)


def _id_of(key: bytes) -> bytes:
    return hashlib.sha256(b"atom key id" + key).digest()[:_ID_BYTES]


def _bound_to(workspace_id: UUID, provider: str) -> bytes:
    return f"{workspace_id}:{provider}".encode()
