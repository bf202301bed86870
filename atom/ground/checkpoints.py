"""Signed checkpoints: where each workspace's audit chain stood, kept where whoever rewrites the chain cannot write.

A line of JSON each, signed with an Ed25519 key that is derived from the secret key: whoever keeps the lines needs the
public key only. A checkpoint covers every entry up to its own, so one that is lost costs nothing once the next is out.
"""

import asyncio
import base64
import json
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import httpx
import structlog
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings
from django.utils import timezone

from atom.ground import audit
from atom.ground.errors import AtomError, BadRequest
from atom.ground.http import build_client
from atom.ground.models import AuditEntry, AuditHead

log = structlog.get_logger(__name__)

PURPOSE = b"atom audit checkpoints, version 1"
TIMEOUT_S = 10.0
RETRY_AFTER_S = (0.5, 5.0, 20.0)
BATCH = 500


class NotDelivered(AtomError):
    """The checkpoints could not be left where they belong."""

    code = "checkpoints_not_delivered"
    status = 502
    retryable = True


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where a chain stood: its newest entry's number and hash, and when that was looked at (ISO 8601, UTC)."""

    workspace_id: UUID
    seq: int
    hash: str
    at: str

    def text(self) -> str:
        """What is signed."""
        facts = {"workspace": str(self.workspace_id), "seq": self.seq, "hash": self.hash, "at": self.at}
        return json.dumps(facts, sort_keys=True, separators=(",", ":"))


def _signing_key() -> Ed25519PrivateKey:
    derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=PURPOSE).derive(settings.SECRET_KEY.encode())
    return Ed25519PrivateKey.from_private_bytes(derived)


def public_key() -> str:
    """The key that proves this installation's checkpoints, in base64; it may be given to anybody."""
    return base64.b64encode(_signing_key().public_key().public_bytes_raw()).decode()


def signed_lines() -> list[str]:
    """A signed line for each workspace's chain as it stands now. A chain whose anchor was altered gets none."""
    key, at = _signing_key(), timezone.now().isoformat()
    lines = []
    for head in AuditHead.objects.order_by("pk"):
        if not audit.is_sealed(head):
            log.error("audit_anchor_altered", workspace=str(head.workspace_id))
            continue
        text = Checkpoint(head.workspace_id, head.seq, head.hash, at).text()
        signature = base64.b64encode(key.sign(text.encode())).decode()
        lines.append(json.dumps({**json.loads(text), "signature": signature}, separators=(",", ":")))
    return lines


def deliver(lines: Iterable[str]) -> None:
    """Leave the lines at `ATOM_AUDIT_CHECKPOINTS`, a file's end or a webhook. Raises NotDelivered."""
    body = "".join(f"{line}\n" for line in lines).encode()
    target: str = settings.ATOM_AUDIT_CHECKPOINTS
    if target.startswith(("https://", "http://")):
        asyncio.run(_post(target, body))
    else:
        _append(Path(target), body)


def _append(path: Path, body: bytes) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "ab") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
    except OSError as exc:
        raise NotDelivered(f"{path} cannot be written ({exc.strerror}).") from exc


async def _post(url: str, body: bytes) -> None:
    """Send once, and again after each of RETRY_AFTER_S; the address is the operator's and guarded like a tool's."""
    allowed = settings.ATOM_ALLOWED_TOOL_HOSTS
    async with build_client(allowed_hosts=allowed, timeout=httpx.Timeout(TIMEOUT_S)) as client:
        for wait_s in (*RETRY_AFTER_S, None):
            problem = await _send(client, url, body)
            if not problem:
                return
            if wait_s is not None:
                await asyncio.sleep(wait_s)
    raise NotDelivered(f"The webhook for checkpoints did not take them: {problem}.")


async def _send(client: httpx.AsyncClient, url: str, body: bytes) -> str:
    """What went wrong, or nothing. The answer's body is not read: nobody knows how long it is."""
    headers = {"Content-Type": "application/x-ndjson"}
    try:
        async with client.stream("POST", url, content=body, headers=headers) as answer:
            return "" if answer.is_success else f"it answered {answer.status_code}"
    except httpx.HTTPError as exc:
        return f"no answer ({type(exc).__name__})"


def verify_against(lines: Iterable[str], *, key: str = "") -> list[str]:
    """Everything in the database that is not as these checkpoints say, and every line that nobody here signed.

    `key` is the public key that they were signed with, if it is not today's. Raises BadRequest when it is no key.
    """
    problems: list[str] = []
    kept: dict[UUID, list[Checkpoint]] = defaultdict(list)
    for checkpoint in _proven(lines, _known_key(key), problems):
        kept[checkpoint.workspace_id].append(checkpoint)
    for workspace_id, checkpoints in kept.items():
        problems.extend(_compared(workspace_id, checkpoints))
    return problems


def _known_key(key: str) -> Ed25519PublicKey:
    try:
        return Ed25519PublicKey.from_public_bytes(base64.b64decode(key or public_key(), validate=True))
    except ValueError as exc:
        raise BadRequest("The key must be 32 bytes in base64, as `manage.py audit key` shows it.") from exc


def _proven(lines: Iterable[str], key: Ed25519PublicKey, problems: list[str]) -> Iterator[Checkpoint]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            facts = json.loads(line)
            signature = base64.b64decode(facts["signature"])
            checkpoint = Checkpoint(UUID(facts["workspace"]), int(facts["seq"]), str(facts["hash"]), str(facts["at"]))
            key.verify(signature, checkpoint.text().encode())
        except InvalidSignature:
            problems.append(f"line {number}: this checkpoint was altered, or signed with another key")
        except (ValueError, KeyError, TypeError, AttributeError):
            problems.append(f"line {number}: this is not a checkpoint")
        else:
            yield checkpoint


def _compared(workspace_id: UUID, checkpoints: list[Checkpoint]) -> Iterator[str]:
    """The first place where this workspace's chain is not the one that was signed, if there is one."""
    entries = AuditEntry.objects.filter(workspace_id=workspace_id)
    last = entries.order_by("-seq").values_list("seq", flat=True).first() or 0
    in_order = sorted(checkpoints, key=lambda one: one.seq)
    for start in range(0, len(in_order), BATCH):
        some = in_order[start : start + BATCH]
        found = dict(entries.filter(seq__in={one.seq for one in some}).values_list("seq", "hash"))
        for one in some:
            where = f"workspace {workspace_id}, entry {one.seq}"
            if one.seq > last:
                yield f"{where}: the chain was cut off: it ends at {last}, but stood at {one.seq} at {one.at}"
                return
            if one.seq and found.get(one.seq) != one.hash:
                yield f"{where}: the chain was rewritten: this entry is not the one that was signed at {one.at}"
                return
