"""One effect for one Idempotency-Key: the first request takes the key, later ones get its answer.

The row decides, on every database: a unique digest, and every change names the holder that it takes the key from.
A holder that lost its key (its lease ran out) finds out in the transaction of its effect, which then does not happen.
"""

import hashlib
import hmac
import os
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID, uuid4

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings
from django.utils import timezone

from atom.ground.errors import AtomError, BadRequest, Conflict
from atom.ground.models import IdempotencyKey
from atom.ground.principal import Principal

MAX_KEY_CHARS = 255
REMEMBER = timedelta(hours=24)
# A key whose process died is free again after this; nothing renews it, because a run has a lease of its own.
LEASE = timedelta(seconds=45)
RETRY_AFTER_S = 1
_NONCE_BYTES = 12


class KeyInFlight(Conflict):
    """The first request with this key has not been answered yet."""

    code = "idempotency_in_flight"

    def __init__(self) -> None:
        super().__init__(
            "A request with this Idempotency-Key is being answered. Ask again in a moment.",
            retry_after_s=RETRY_AFTER_S,
        )


class KeyReused(AtomError):
    """The key came with another body before."""

    code = "idempotency_key_reused"
    type = "invalid_request_error"
    status = 422


@dataclass(frozen=True, slots=True)
class Asked:
    """A request with a key, as far as keys are concerned."""

    workspace_id: UUID
    scope: str
    fingerprint: str


@dataclass(slots=True)
class Claim:
    """This request has the key, or, with `bound_to`, it may look after the run that the key began."""

    key_id: UUID
    holder: UUID
    bound_to: UUID | None = None
    # False: an earlier request began the run, this one looks on and must not give the key away.
    is_own: bool = True
    # False: the answer waits for people; asking again goes on with it.
    is_final: bool = True
    # Whether a failure on our side came after something had happened: then it is remembered too.
    has_effect: bool = False


@dataclass(frozen=True, slots=True)
class Stored:
    """The final answer to the key's request."""

    status: int
    headers: dict[str, str]
    body: bytes


def key_of(given: str, *, param: str = "Idempotency-Key") -> str:
    """The key in the header or field, quoted or bare."""
    key = given.strip()
    if len(key) >= 2 and key[0] == key[-1] == '"':
        key = key[1:-1]
    if not key or len(key) > MAX_KEY_CHARS:
        raise BadRequest(f"An Idempotency-Key has 1 to {MAX_KEY_CHARS} characters.", param=param)
    return key


def asked(principal: Principal, *, key: str, method: str, path: str, query: str, body: bytes) -> Asked:
    """Whose request this is: the same token (or signed-in person), door and key mean the same request."""
    actor = principal.token_id or principal.user_id
    scope = orjson.dumps([principal.workspace_id, actor, method, path, key])
    return Asked(principal.workspace_id, _digest(scope), _digest(query.encode() + b"\0" + _canonical(body)))


def take(wanted: Asked) -> Claim | Stored:
    """The key for this request, or its answer. Raises KeyInFlight, KeyReused. Not inside a transaction."""
    now, holder = timezone.now(), uuid4()
    fresh = IdempotencyKey(
        workspace_id=wanted.workspace_id,
        scope=wanted.scope,
        fingerprint=wanted.fingerprint,
        holder=holder,
        lease_until=now + LEASE,
        created_at=now,
    )
    IdempotencyKey.objects.bulk_create([fresh], ignore_conflicts=True)
    row = IdempotencyKey.objects.filter(scope=wanted.scope).first()
    if row is None:
        # It was freed between the two looks.
        raise KeyInFlight
    if row.holder == holder:
        return Claim(row.pk, holder)
    is_idle = row.status is None and row.lease_until <= now
    if row.created_at < now - REMEMBER or (is_idle and row.bound_to is None):
        return _take_from(row, wanted.fingerprint)
    if row.fingerprint != wanted.fingerprint:
        raise KeyReused("This Idempotency-Key was used with another body.", param="Idempotency-Key")
    if row.status is not None:
        return Stored(row.status, row.headers, _unseal(row))
    if is_idle:
        return Claim(row.pk, row.holder, row.bound_to, is_own=False)
    raise KeyInFlight


def take_over(claim: Claim) -> None:
    """Hold the key of a run that will not answer any more, to ask anew. Raises KeyInFlight when another is quicker."""
    holder = uuid4()
    taken = IdempotencyKey.objects.filter(pk=claim.key_id, holder=claim.holder, status=None).update(
        holder=holder, lease_until=timezone.now() + LEASE
    )
    if not taken:
        raise KeyInFlight
    claim.holder, claim.bound_to, claim.is_own = holder, None, True


def bind(claim: Claim, run_id: UUID) -> None:
    """From here on the run carries the key. Call it in the transaction that opens the run."""
    now = timezone.now()
    held = IdempotencyKey.objects.filter(pk=claim.key_id, holder=claim.holder, status=None)
    if not held.update(bound_to=run_id, lease_until=now):
        raise KeyInFlight
    claim.bound_to = run_id


def keep(claim: Claim, answer: Stored) -> None:
    """Remember the final answer. Raises KeyInFlight when the key is not this claim's any more."""
    kept = IdempotencyKey.objects.filter(pk=claim.key_id, holder=claim.holder, status=None).update(
        status=answer.status, headers=answer.headers, body=_seal(claim.key_id, answer.body)
    )
    if not kept:
        raise KeyInFlight


def free(claim: Claim, *, only_unbound: bool = False) -> None:
    """Forget the request: the same key may be used anew. `only_unbound`: unless a run carries it."""
    held = IdempotencyKey.objects.filter(pk=claim.key_id, holder=claim.holder, status=None)
    held.filter(bound_to=None if only_unbound else claim.bound_to).delete()
    # Taken over from an earlier run, and nothing came of it: that run carries the key again.
    held.update(lease_until=timezone.now())


def forget_old() -> int:
    """Remove what is remembered no longer; gives how many."""
    removed, _ = IdempotencyKey.objects.filter(created_at__lt=timezone.now() - REMEMBER).delete()
    return removed


def _take_from(row: IdempotencyKey, fingerprint: str) -> Claim:
    holder, now = uuid4(), timezone.now()
    same = IdempotencyKey.objects.filter(pk=row.pk, holder=row.holder, status=row.status, lease_until=row.lease_until)
    taken = same.update(
        holder=holder,
        fingerprint=fingerprint,
        lease_until=now + LEASE,
        bound_to=None,
        status=None,
        headers={},
        body=None,
        created_at=now,
    )
    if not taken:
        raise KeyInFlight
    return Claim(row.pk, holder)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _canonical(body: bytes) -> bytes:
    """A client may write the same object's fields in another order when it asks again."""
    try:
        return orjson.dumps(orjson.loads(body), option=orjson.OPT_SORT_KEYS)
    except (orjson.JSONDecodeError, orjson.JSONEncodeError, RecursionError):
        return body


def _sealing_key() -> bytes:
    return hmac.digest(settings.SECRET_KEY.encode(), b"atom answers to idempotency keys", "sha256")


def _seal(key_id: UUID, body: bytes) -> bytes:
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + AESGCM(_sealing_key()).encrypt(nonce, body, key_id.bytes)


def _unseal(row: IdempotencyKey) -> bytes:
    blob = bytes(row.body or b"")
    try:
        return AESGCM(_sealing_key()).decrypt(blob[:_NONCE_BYTES], blob[_NONCE_BYTES:], row.pk.bytes)
    except (InvalidTag, ValueError) as exc:
        # The secret key was changed. The request had its effect, so it is not made again.
        raise Conflict("The answer to this Idempotency-Key can no longer be read.") from exc
