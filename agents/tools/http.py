"""Tools that Atom runs: one HTTP call, guarded like every other call out, with the arguments as its JSON body."""

from dataclasses import dataclass
from typing import Any

import httpx
from django.conf import settings

from atom.ground.errors import AtomError
from atom.ground.http import build_client, guard

# A tool's answer is read by a model: more than this would only fill its context.
MAX_RESULT_CHARS = 100_000
TIMEOUT_S = 30.0


class ToolFailed(AtomError):
    code = "tool_failed"
    status = 502


@dataclass(frozen=True, slots=True)
class HTTPTool:
    """A tool as an agent declares it; `action` is the name that policy judges."""

    name: str
    description: str
    parameters: dict[str, Any]
    action: str
    url: str
    method: str = "POST"

    @classmethod
    def from_json(cls, declared: dict[str, Any]) -> "HTTPTool":
        return cls(
            name=declared["name"],
            description=declared.get("description", ""),
            parameters=declared.get("parameters") or {"type": "object", "properties": {}},
            action=declared.get("action") or declared["name"],
            url=declared["url"],
            method=declared.get("method", "POST").upper(),
        )


def check_tool_url(url: str) -> None:
    """Raise a BadRequest with the reason when a tool may not call this address."""
    guard(url, settings.ATOM_ALLOWED_TOOL_HOSTS)


async def run_tool(tool: HTTPTool, arguments: dict[str, Any], *, key: str) -> str:
    """Call the tool and give back its answer's text.

    `key` goes along as Idempotency-Key, so that a repetition is the same call.
    Raises ToolFailed in our words: no connection, a time-out, or a status that is not 2xx.
    """
    check_tool_url(tool.url)
    async with build_client(allowed_hosts=settings.ATOM_ALLOWED_TOOL_HOSTS, timeout=httpx.Timeout(TIMEOUT_S)) as client:
        try:
            if tool.method == "GET":
                answer = await client.get(tool.url, params=arguments, headers={"Idempotency-Key": key})
            else:
                answer = await client.request(tool.method, tool.url, json=arguments, headers={"Idempotency-Key": key})
        except httpx.TimeoutException as exc:
            raise ToolFailed(f"The tool {tool.name} did not answer within {TIMEOUT_S:g} s.") from exc
        except httpx.HTTPError as exc:
            raise ToolFailed(f"The tool {tool.name} could not be reached.") from exc
    if not answer.is_success:
        raise ToolFailed(f"The tool {tool.name} answered with status {answer.status_code}.")
    return answer.text[:MAX_RESULT_CHARS]
