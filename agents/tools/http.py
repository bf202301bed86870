"""HTTP tools: one guarded call, with the arguments in the query of a GET and in the JSON body of anything else."""

import asyncio
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import httpx
import orjson
from django.conf import settings

from agents.tools.own import Tell, ToolFailed, without
from atom.ground.errors import BadRequest
from atom.ground.http import build_client, guard
from llm import sealing

TIMEOUT_S = 30.0
# A tool's answer is read by a model: more than this would only fill its context.
MAX_BYTES = 100_000
SECRET_PLACE = "{secret}"  # noqa: S105  # where a header's value wants the secret
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
# These belong to the connection, or to us.
_OUR_HEADERS = frozenset({
    "host", "content-length", "content-type", "transfer-encoding", "connection", "upgrade", "te", "trailer",
    "accept-encoding", "idempotency-key", "proxy-authorization",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Sealed:
    """A tool's secret as it is stored, and what its seal is bound to."""

    blob: bytes = field(repr=False)
    workspace_id: UUID
    bound_to: str

    def opened(self) -> str:
        """The secret; raise Undecryptable."""
        return sealing.unseal(self.blob, workspace_id=self.workspace_id, provider=self.bound_to)


@dataclass(frozen=True, slots=True)
class HTTPTool:
    """A tool as an agent declares it; `action` is the name that policy judges."""

    name: str
    description: str
    parameters: dict[str, Any]
    action: str
    url: str
    method: str = "POST"
    headers: dict[str, str] = field(default_factory=dict)
    timeout_s: float = TIMEOUT_S
    max_bytes: int = MAX_BYTES
    is_untrusted: bool = False
    secret: Sealed | None = None
    complexity: int | None = None

    @classmethod
    def from_json(cls, declared: dict[str, Any], secret: Sealed | None = None) -> "HTTPTool":
        return cls(
            name=declared["name"],
            description=declared.get("description", ""),
            parameters=declared.get("parameters") or {"type": "object", "properties": {}},
            action=declared.get("action") or declared["name"],
            url=declared["url"],
            method=declared.get("method", "POST").upper(),
            headers=declared.get("headers") or {},
            timeout_s=float(declared.get("timeout_s") or TIMEOUT_S),
            max_bytes=declared.get("max_bytes") or MAX_BYTES,
            is_untrusted=bool(declared.get("untrusted")),
            secret=secret,
        )

    async def run(self, arguments: dict[str, Any], *, key: str, tell: Tell) -> str:
        """Call the tool; `key` goes along as Idempotency-Key, so that a repetition is the same call."""
        check_tool_url(self.url)
        secret = self.secret.opened() if self.secret else ""
        try:
            async with asyncio.timeout(self.timeout_s):
                text = await self._called(arguments, key, secret)
        except TimeoutError as exc:
            raise ToolFailed(
                f"The tool {self.name} did not answer within {self.timeout_s:g} s; its timeout_s can be raised."
            ) from exc
        except httpx.HTTPError as exc:
            raise ToolFailed(f"The tool {self.name} could not be reached.") from exc
        # In a JSON answer the secret may stand escaped.
        return without([secret, orjson.dumps(secret).decode()[1:-1]], text)

    async def _called(self, arguments: dict[str, Any], key: str, secret: str) -> str:
        client = build_client(allowed_hosts=settings.ATOM_ALLOWED_TOOL_HOSTS, timeout=httpx.Timeout(None))
        # Compressed answers could be far larger than what comes in.
        headers = {"Accept-Encoding": "identity", "Idempotency-Key": key, **self._headers(secret)}
        url = httpx.URL(self.url)
        body = None
        if self.method == "GET":
            given = [(name, _in_query(value)) for name, value in arguments.items() if value is not None]
            query = "&".join(part for part in (url.query.decode(), urlencode(given)) if part)
            url = url.copy_with(query=query.encode() or None)
        else:
            body = orjson.dumps(arguments)
            headers["Content-Type"] = "application/json"
        async with client, client.stream(self.method, url, content=body, headers=headers) as answer:
            if answer.is_redirect:
                raise ToolFailed(f"The tool {self.name} answered with a redirect, which is not followed.")
            if not answer.is_success:
                raise ToolFailed(f"The tool {self.name} answered with status {answer.status_code}.")
            return await self._text(answer)

    async def _text(self, answer: httpx.Response) -> str:
        held = bytearray()
        async for piece in answer.aiter_bytes():
            held += piece
            if len(held) > self.max_bytes:
                raise ToolFailed(
                    f"The tool {self.name} answered with more than {self.max_bytes} bytes; its max_bytes can be raised."
                )
        return held.decode(answer.encoding or "utf-8", "replace")

    def _headers(self, secret: str) -> dict[str, str]:
        """The declared headers with the secret in its place: as a bearer token where none of them names it."""
        headers = {name: value.replace(SECRET_PLACE, secret) for name, value in self.headers.items()}
        if secret and not any(SECRET_PLACE in value for value in self.headers.values()):
            headers["Authorization"] = f"Bearer {secret}"
        return headers


def _in_query(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def check_tool_url(url: str) -> None:
    """Raise a BadRequest with the reason when a tool may not call this address."""
    guard(url, settings.ATOM_ALLOWED_TOOL_HOSTS)


def check_headers(headers: dict[str, str], place: str) -> None:
    """Raise BadRequest for a header that would break the call, smuggle in another one, or is ours to set."""
    for name, value in headers.items():
        at = f"{place}.{name}"
        if not _HEADER_NAME.fullmatch(name):
            raise BadRequest(f"{at}: this is not a header's name.", param=at)
        if name.lower() in _OUR_HEADERS:
            raise BadRequest(f"{at}: this header is set by Atom.", param=at)
        if not all(" " <= char <= "~" for char in value):
            raise BadRequest(f"{at}: a header holds printable ASCII characters only.", param=at)
