"""The way out: which addresses may be called, in every spelling, before and after DNS."""

import asyncio
import ipaddress
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeAlias

import httpx
import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from atom.ground.http import (
    PIECE_BYTES,
    ForbiddenAddress,
    GuardedClient,
    build_client,
    guard,
    guard_resolved,
    is_public,
)
from tests.simulators.openai import OpenAISimulator

FORBIDDEN = [
    "http://127.0.0.1/v1",
    "http://127.1/",
    "http://127.0.1/",
    "http://2130706433/",
    "http://0x7f000001/",
    "http://0x7f.0.0.1/",
    "http://0177.0.0.1/",
    "http://017700000001/",
    "http://127.0.0.1./",
    "http://0/",
    "http://0.0.0.0/",
    "http://10.0.0.1/",
    "http://172.16.0.1/",
    "http://192.168.1.1/",
    "http://169.254.169.254/latest/meta-data/",
    "http://0xa9fea9fe/",
    "http://100.64.0.1/",
    "http://100.100.100.200/",
    "http://168.63.129.16/",
    "http://192.0.0.192/",
    "http://192.88.99.1/",
    "http://198.18.0.1/",
    "http://224.0.0.1/",
    "http://240.0.0.1/",
    "http://255.255.255.255/",
    "http://256.256.256.256/",
    "http://1.2.3.4.5/",
    "http://[::1]/",
    "http://[::]/",
    "http://[0:0:0:0:0:0:0:1]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:7f00:1]/",
    "http://[::ffff:0:127.0.0.1]/",
    "http://[::127.0.0.1]/",
    "http://[64:ff9b::127.0.0.1]/",
    "http://[64:ff9b::8.8.8.8]/",
    "http://[64:ff9b:1::1]/",
    "http://[2002:7f00:1::]/",
    "http://[2001:0:1::1]/",
    "http://[fe80::1]/",
    "http://[fe80::1%25eth0]/",
    "http://[fc00::1]/",
    "http://[fd00:ec2::254]/",
    "http://[fec0::1]/",
    "http://[ff02::1]/",
    "http://localhost/",
    "http://LOCALHOST./",
    "http://api.localhost/",
    "http://metadata.google.internal/",
    "http://printer.local/",
    "http://user:secret@8.8.8.8/",
    "http://8.8.8.8@127.0.0.1/",
    "http://@8.8.8.8/",
    "http://8.8.8.8\\@127.0.0.1/",
    "http://8.8.8.8\t/",
    "http://①②⑦.⓪.⓪.①/",
    "http://exa mple.com/",
    "http://exa%00mple.com/",
    "ftp://8.8.8.8/",
    "file:///etc/passwd",
    "gopher://8.8.8.8/",
    "//8.8.8.8/",
    "8.8.8.8",
    "http://",
    "http:///v1",
    "http://example.com:99999/",
    "http://" + "a" * 5000,
    "",
]
PUBLIC = [
    "https://api.openai.com/v1",
    "http://8.8.8.8/",
    "https://[2606:4700:4700::1111]/",
    "https://bücher.example.com/",
    "https://1.1.1.1:8443/v1",
    "https://dead.beef/",
    "https://under_score.example.com",
]


@pytest.mark.parametrize("url", FORBIDDEN)
def test_a_forbidden_address_is_refused_in_every_spelling(url: str) -> None:
    with pytest.raises(ForbiddenAddress) as caught:
        guard(url, [])
    assert (caught.value.status, caught.value.code) == (400, "forbidden_address")


@pytest.mark.parametrize("url", PUBLIC)
def test_a_public_address_passes(url: str) -> None:
    assert guard(url, []).scheme in {"http", "https"}


@pytest.mark.parametrize(
    ("url", "entry"),
    [
        ("http://127.0.0.1:9000/v1", "127.0.0.1"),
        ("http://127.0.0.1:9000/v1", "127.0.0.1:9000"),
        ("http://[::1]:9000/", "::1"),
        ("http://[::1]:9000/", "[::1]"),
        ("http://[::1]:9000/", "[::1]:9000"),
        ("http://[0:0:0:0:0:0:0:1]/", "::1"),
        ("http://localhost/", "LOCALHOST"),
        ("http://models.internal:8000/", "models.internal"),
        ("http://models.internal/", "models.internal:80"),
        ("https://models.internal/", "models.internal:443"),
    ],
)
def test_an_allowed_host_passes(url: str, entry: str) -> None:
    guard(url, ["other.example.com", entry])


@pytest.mark.parametrize(
    ("url", "entry"),
    [
        ("http://127.0.0.2/", "127.0.0.1"),
        ("http://[::1]/", "127.0.0.1"),
        ("http://[::ffff:127.0.0.1]/", "127.0.0.1"),
        ("http://localhost/", "127.0.0.1"),
        ("http://2130706433/", "127.0.0.1"),
        ("http://127.0.0.1:9001/", "127.0.0.1:9000"),
        ("http://127.0.0.1/", "127.0.0.1:9000"),
        ("http://[::1]:9001/", "[::1]:9000"),
        ("http://a.internal/", "internal"),
        ("http://127.0.0.1/", ""),
        ("http://127.0.0.1/", "localhost"),
    ],
)
def test_an_entry_allows_exactly_itself(url: str, entry: str) -> None:
    with pytest.raises(ForbiddenAddress):
        guard(url, [entry])


def test_is_public_is_sure() -> None:
    assert is_public(ipaddress.ip_address("8.8.8.8"))
    assert not is_public(ipaddress.ip_address("224.0.0.1"))
    assert not is_public(ipaddress.ip_address("2002:808:808::"))


def test_a_stored_address_is_resolved_too(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {"rebind.example.com": ["8.8.8.8", "10.0.0.1"], "fine.example.com": ["8.8.8.8"]}

    def resolve(host: str, port: int, **given: object) -> list[tuple[object, ...]]:
        if host not in answers:
            raise socket.gaierror
        return [(2, 1, 6, "", (address, port)) for address in answers[host]]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    guard_resolved("https://fine.example.com/v1", [])
    guard_resolved("https://unknown.example.com/v1", [])
    guard_resolved("https://rebind.example.com/v1", ["rebind.example.com"])
    with pytest.raises(ForbiddenAddress):
        guard_resolved("https://rebind.example.com/v1", [])


class Answers(AbstractResolver):
    """DNS under the test's control: the names it knows, in turn each of their answers."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = list(addresses)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(hostname=host, host=address, port=port, family=socket.AF_INET, proto=0, flags=0)
            for address in self.addresses
        ]

    async def close(self) -> None:
        pass


TIMEOUT = httpx.Timeout(5)
Ask: TypeAlias = Callable[[GuardedClient, str], Awaitable[tuple[int, bytes]]]


async def with_httpx(client: GuardedClient, url: str) -> tuple[int, bytes]:
    answer = await client.post(url, content=b"{}")
    return answer.status_code, answer.content


async def as_it_is(client: GuardedClient, url: str) -> tuple[int, bytes]:
    answer = await client.post_as_is(url, b"{}", {}, 5)
    try:
        return answer.status_code, b"".join([piece async for piece in answer.pieces()])
    finally:
        await answer.aclose()


@pytest.fixture(params=[with_httpx, as_it_is])
def ask(request: pytest.FixtureRequest) -> Ask:
    """Both ways out: what holds for one holds for the other."""
    way: Ask = request.param
    return way


async def test_a_name_that_resolves_to_a_private_address_is_refused_at_connect(
    openai_simulator: OpenAISimulator, ask: Ask
) -> None:
    url = f"http://rebind.example.com:{openai_simulator.port}/tools/any"
    async with build_client(allowed_hosts=[], timeout=TIMEOUT, resolver=Answers("127.0.0.1")) as client:
        with pytest.raises(ForbiddenAddress):
            await ask(client, url)
    async with build_client(
        allowed_hosts=["rebind.example.com"], timeout=TIMEOUT, resolver=Answers("127.0.0.1")
    ) as client:
        assert (await ask(client, url))[0] == 200


async def test_one_private_address_among_public_ones_is_refused(ask: Ask) -> None:
    async with build_client(allowed_hosts=[], timeout=TIMEOUT, resolver=Answers("8.8.8.8", "10.0.0.1")) as client:
        with pytest.raises(ForbiddenAddress):
            await ask(client, "http://mixed.example.com/")


async def test_the_system_resolver_is_watched_too(ask: Ask) -> None:
    # The machine's own name stands in its hosts file, with an address of its own network.
    name = socket.gethostname()
    async with build_client(allowed_hosts=[], timeout=TIMEOUT) as client:
        with pytest.raises((ForbiddenAddress, httpx.ConnectError)):
            await ask(client, f"http://{name}/")


async def test_a_literal_address_is_refused_by_the_client_itself(openai_simulator: OpenAISimulator, ask: Ask) -> None:
    async with build_client(allowed_hosts=[], timeout=TIMEOUT) as client:
        with pytest.raises(ForbiddenAddress):
            await ask(client, f"{openai_simulator.base_url}/models")


@pytest.fixture
async def strange_server() -> AsyncIterator[str]:
    """Redirects to itself, sets cookies, and says on /seen what came with a request."""

    async def redirect(request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": "/seen"})

    async def cookie(request: web.Request) -> web.Response:
        return web.Response(headers={"Set-Cookie": "tenant=alice; Path=/"})

    async def seen(request: web.Request) -> web.Response:
        return web.json_response({"cookie": request.headers.get("Cookie")})

    async def broken(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.write(b"this is not HTTP\r\n\r\n")
        request.transport.close()
        return web.Response()

    async def dropped(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    async def halved(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "100"})
        await response.prepare(request)
        await response.write(b"half")
        assert request.transport is not None
        request.transport.close()
        return response

    app = web.Application()
    for name, handler in {
        "redirect": redirect,
        "cookie": cookie,
        "seen": seen,
        "broken": broken,
        "dropped": dropped,
        "halved": halved,
    }.items():
        app.router.add_post(f"/{name}", handler)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest.fixture
async def client() -> AsyncIterator[GuardedClient]:
    async with build_client(allowed_hosts=["127.0.0.1"], timeout=TIMEOUT) as made:
        yield made


async def test_a_redirect_is_not_followed(strange_server: str, client: GuardedClient, ask: Ask) -> None:
    assert (await ask(client, f"{strange_server}/redirect"))[0] == 302


async def test_a_cookie_set_for_one_call_is_not_sent_with_the_next(
    strange_server: str, client: GuardedClient, ask: Ask
) -> None:
    await ask(client, f"{strange_server}/cookie")
    assert await ask(client, f"{strange_server}/seen") == (200, b'{"cookie": null}')


async def test_the_machines_proxy_is_not_used(
    strange_server: str, client: GuardedClient, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert (await ask(client, f"{strange_server}/seen"))[0] == 200


@pytest.mark.parametrize("path", ["broken", "dropped"])
async def test_a_lost_connection_is_no_timeout(strange_server: str, client: GuardedClient, ask: Ask, path: str) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        await ask(client, f"{strange_server}/{path}")


async def test_an_answer_cut_in_half_is_a_read_error(strange_server: str, client: GuardedClient, ask: Ask) -> None:
    with pytest.raises(httpx.TransportError) as caught:
        await ask(client, f"{strange_server}/halved")
    assert not isinstance(caught.value, httpx.TimeoutException)


async def test_a_refused_connection_is_a_connect_error(client: GuardedClient, ask: Ask) -> None:
    with pytest.raises(httpx.ConnectError):
        await ask(client, "http://127.0.0.1:1/")


async def test_a_read_timeout_is_a_timeout(openai_simulator: OpenAISimulator) -> None:
    openai_simulator.will_hang()
    async with build_client(allowed_hosts=["127.0.0.1"], timeout=httpx.Timeout(0.2)) as client:
        with pytest.raises(httpx.TimeoutException):
            await asyncio.wait_for(client.post(f"{openai_simulator.base_url}/chat/completions", json={}), 5)


async def test_a_large_body_goes_out_whole_and_with_its_length(openai_simulator: OpenAISimulator) -> None:
    said = {"text": "x" * 3 * PIECE_BYTES}
    async with build_client(allowed_hosts=["127.0.0.1"], timeout=TIMEOUT) as client:
        answer = await client.post_as_is(openai_simulator.tool_url("any"), json.dumps(said).encode(), {}, 5)
        await answer.aclose()
    [seen] = openai_simulator.tool_calls
    assert seen.json == said
    assert "transfer-encoding" not in seen.headers
    assert seen.headers["user-agent"] == "Atom"


async def test_a_connection_that_is_not_taken_is_given_up_in_time() -> None:
    # It listens and takes nobody: once its line is full, nobody gets in.
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        address = full.getsockname()
        waiting = [socket.socket() for _ in range(8)]
        try:
            for one in waiting:
                one.setblocking(False)
                one.connect_ex(address)
            async with build_client(allowed_hosts=["127.0.0.1"], timeout=TIMEOUT) as client:
                with pytest.raises(httpx.TimeoutException):
                    await asyncio.wait_for(client.post_as_is(f"http://127.0.0.1:{address[1]}/", b"{}", {}, 0.2), 5)
        finally:
            for one in waiting:
                one.close()
