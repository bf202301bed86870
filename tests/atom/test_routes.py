"""Every address answers on one surface, and answers at all."""

import re
from collections.abc import Callable, Iterator
from importlib import reload
from typing import Any

import httpx
import pytest
from django.urls import URLPattern, URLResolver

from atom import urls
from atom.ground.principal import Principal
from tests.events import bearer

NOWHERE = "00000000-0000-4000-8000-000000000000"
CONTROL = re.compile(r"/(message|messages|status|events|agent/.*)")


def routes(patterns: list[Any], at: str = "/") -> Iterator[tuple[str, Any]]:
    for one in patterns:
        path = at + str(one.pattern).removeprefix("^").removesuffix("$").removesuffix(r"\Z")
        if isinstance(one, URLResolver):
            yield from routes(one.url_patterns, path)
        elif isinstance(one, URLPattern):
            yield path, one.callback


def listed() -> list[str]:
    return [path for path, _ in routes(urls.urlpatterns)]


def surface_of(path: str) -> str:
    if CONTROL.fullmatch(path):
        return "control plane"
    return "/" + path.split("/")[1] if path.count("/") > 1 else "root"


def own() -> list[str]:
    """All but the admin's own pages, whose addresses are Django's."""
    return [path for path in listed() if not path.startswith("/admin/")]


def shape(path: str) -> str:
    return re.sub(r"<[^>]+>", "*", path)


def test_routes_set_up_twice_are_the_same() -> None:
    before = listed()
    reload(urls)
    assert listed() == before
    assert len(before) > 60


def test_no_address_is_there_twice() -> None:
    shapes = [shape(path) for path in own()]
    assert sorted(shapes) == sorted(set(shapes))


def test_no_view_answers_on_two_surfaces() -> None:
    found: dict[Any, set[str]] = {}
    for path, view in routes(urls.urlpatterns):
        # REST framework's views and pages are made anew for each address, with their class or name.
        found.setdefault(getattr(view, "cls", view), set()).add(surface_of(path))
    assert {view: surfaces for view, surfaces in found.items() if len(surfaces) > 1} == {}


# All but Anthropic's own `/v1/messages`.
NOT_CONTROL = ["/v1/message", "/v1/status", "/v1/events", "/v1/agent/start", "/api/message", "/api/messages",
               "/api/status", "/api/events", "/api/agent/start"]  # fmt: skip


@pytest.mark.parametrize("path", ["/message", "/messages", "/status", "/events", "/agent/start"])
def test_control_plane_addresses_are_there(server: str, path: str) -> None:
    assert httpx.get(server + path).status_code == 401


@pytest.mark.parametrize("path", NOT_CONTROL)
def test_control_plane_addresses_are_nowhere_else(server: str, path: str) -> None:
    assert httpx.get(server + path).status_code == 404


@pytest.mark.parametrize("path", ["/chat/completions", "/models", "/metrics/providers"])
def test_openai_addresses_are_only_there(server: str, path: str) -> None:
    assert httpx.get(f"{server}/v1{path}").status_code in {401, 405}
    assert httpx.get(server + path).status_code == 404


def test_every_address_answers(server: str, alice: Principal, token_of: Callable[[Principal], str]) -> None:
    """Whatever it says of an empty request: never a failure of ours, never a page of Django's."""
    failed = []
    with httpx.Client(base_url=server, headers=bearer(token_of(alice)), timeout=60) as client:
        for path in own():
            address = re.sub(r"<[^>]+>", NOWHERE, path)
            for method in ("GET", "POST"):
                # Only how it begins is looked at: some answers have no end.
                with client.stream(method, address, json={} if method == "POST" else None) as answer:
                    is_broken = answer.status_code >= 500 and path not in {"/readyz", "/health"}
                    if is_broken:
                        failed.append((method, path, answer.status_code))
    assert failed == []


# A count has no effect; what is below `/metrics`, `/healthz` and the like is asked for, not posted to.
KEYLESS = {"/v1/messages/count_tokens", "/healthz", "/readyz", "/health", "/metrics"}


def test_every_post_with_an_effect_takes_a_key(
    server: str, alice: Principal, token_of: Callable[[Principal], str]
) -> None:
    taken, not_taken = set(), set()
    headers = {**bearer(token_of(alice)), "Idempotency-Key": "k" * 256}
    with httpx.Client(base_url=server, headers=headers, timeout=60) as client:
        for path in own():
            answer = client.post(re.sub(r"<[^>]+>", NOWHERE, path), json={})
            is_page = "html" in answer.headers.get("content-type", "")
            if answer.status_code == 400 and "An Idempotency-Key has" in answer.text:
                taken.add(path)
            elif answer.status_code not in {404, 405} and not is_page:
                not_taken.add(path)
    assert not_taken - KEYLESS == set()
    assert {"/v1/messages", "/v1/responses", "/v1/embeddings", "/message", "/agent/start"} <= taken
    assert len(taken) > 50
