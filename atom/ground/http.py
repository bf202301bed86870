"""The way out: HTTP clients that call no address of ours, however it is spelt and whatever DNS answers.

An address is judged twice: as it stands in the URL (`guard`), and as its name resolves at the moment of the
connection, so that a name which changes its mind later is caught too. Pure Python, no Django.
"""

import ipaddress
import re
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TypeAlias

import aiohttp
import httpx
from aiohttp.abc import AbstractResolver, ResolveResult
from httpx_aiohttp import AiohttpTransport

from atom.ground.errors import AtomError

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

# Connections of one client at a time; a call beyond it waits as part of its connect deadline.
MAX_CONNECTIONS = 2000
KEEP_ALIVE_S = 30.0
PIECE_BYTES = 256 * 1024
MAX_URL_CHARS = 4096
# Letters, digits, dots, hyphens, underscores, and colons for IPv6: all that a host may consist of.
_HOST = re.compile(r"[A-Za-z0-9._:-]+")
_AUTHORITY_END = re.compile(r"[/?#]")
_DEFAULT_PORTS = {"http": 80, "https": 443}
# Names that mean "this machine" or "this network" by convention, whatever a resolver says.
_INNER_NAMES = re.compile(
    r"(.*\.)?(localhost|localdomain|local|internal|intranet|lan|home\.arpa)|ip6-(localhost|loopback)"
)
# Ranges that `ipaddress` calls global, or that carry an IPv4 address inside: IPv4-compatible, IPv4-mapped,
# IPv4-translated, NAT64 (RFC 6052, RFC 8215), Teredo, 6to4 and its relays, protocol assignments, and the address
# at which Azure's hosts serve their guests.
_REFUSED = tuple(
    ipaddress.ip_network(network)
    for network in (
        "::/96",
        "::ffff:0:0/96",
        "::ffff:0:0:0/96",
        "64:ff9b::/96",
        "64:ff9b:1::/48",
        "2001::/32",
        "2002::/16",
        "fec0::/10",
        "192.0.0.0/24",
        "192.88.99.0/24",
        "168.63.129.16/32",
    )
)


class ForbiddenAddress(AtomError):
    """The address may not be called from here."""

    code = "forbidden_address"
    type = "invalid_request_error"
    status = 400


def is_public(address: Address) -> bool:
    """Whether an address is one of the open internet's, for sure."""
    if not address.is_global or address.is_multicast or address.is_reserved or address.is_unspecified:
        return False
    return not any(address in network for network in _REFUSED if network.version == address.version)


def guard(url: str, allowed_hosts: Collection[str]) -> httpx.URL:
    """The parsed URL, or ForbiddenAddress with the reason. What was judged before is remembered.

    `allowed_hosts` lists what is private and may be called nevertheless: a host or address, or `host:port`. An entry
    allows exactly itself. Names are not resolved here; `build_client` does that when it connects.
    """
    return _guarded(url, frozenset(allowed_hosts))


@lru_cache(maxsize=1024)
def _guarded(url: str, allowed_hosts: frozenset[str]) -> httpx.URL:
    parsed, host, port = _taken_apart(url)
    if _is_allowed(host, port, allowed_hosts):
        return parsed
    address = _literal(host)
    if address is not None and not is_public(address):
        raise ForbiddenAddress(f"{host} is not a public address. Its host must be allowed before it can be called.")
    if address is None and _INNER_NAMES.fullmatch(host):
        raise ForbiddenAddress(f"{host} is a name inside a network. It must be allowed before it can be called.")
    return parsed


def guard_resolved(url: str, allowed_hosts: Collection[str]) -> None:
    """Like `guard`, and asks DNS too (blocking): for addresses that are stored now and called later.

    A name that does not resolve passes: it may tomorrow, and is looked at again when it is called.
    """
    parsed = guard(url, allowed_hosts)
    host, port = _host_of(parsed), _port_of(parsed)
    if _is_allowed(host, port, allowed_hosts):
        return
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        return
    _check_resolved(host, [str(entry[4][0]) for entry in found])


def _taken_apart(url: str) -> tuple[httpx.URL, str, int]:
    # Backslashes, blanks and control characters: parsers differ about them, so a second one might see another host.
    if len(url) > MAX_URL_CHARS or any(ord(char) <= 0x20 or char in "\\\x7f" for char in url):
        raise ForbiddenAddress("This is not a usable URL.")
    try:
        parsed = httpx.URL(url)
        host, port = _host_of(parsed), _port_of(parsed)
    except (httpx.InvalidURL, ValueError, KeyError) as exc:
        raise ForbiddenAddress("The URL must begin with http:// or https:// and name a host.") from exc
    if "@" in _AUTHORITY_END.split(url.partition("//")[2], maxsplit=1)[0]:
        raise ForbiddenAddress("The URL must not contain a user name or password.")
    if not _HOST.fullmatch(host) or not 0 < port < 65_536:
        raise ForbiddenAddress("The URL must name a host and a port that exists.")
    return parsed, host, port


def _host_of(url: httpx.URL) -> str:
    # The raw host is what goes onto the wire: international names as punycode.
    return url.raw_host.decode("ascii").lower().strip("[]").rstrip(".")


def _port_of(url: httpx.URL) -> int:
    default = _DEFAULT_PORTS[url.scheme]
    return default if url.port is None else url.port


def _literal(host: str) -> Address | None:
    """The address that `host` spells, or None for a name. Odd spellings (hex, octal, short, zoned) are refused."""
    if ":" in host:
        try:
            return ipaddress.IPv6Address(host)
        except ValueError as exc:
            raise ForbiddenAddress("The URL does not name a usable host.") from exc
    try:
        packed = socket.inet_aton(host)
    except OSError:
        # What no resolver can make a name of, some connect call might take for a number.
        if host.rpartition(".")[2].isdecimal() or host.rpartition(".")[2].startswith("0x"):
            raise ForbiddenAddress(f"{host} is neither a host name nor an address.") from None
        return None
    address = ipaddress.IPv4Address(packed)
    if str(address) != host:
        raise ForbiddenAddress(f"{host} is an unusual way to write {address}, which is refused.")
    return address


def _is_allowed(host: str, port: int, allowed_hosts: Collection[str]) -> bool:
    return any(_entry_means(entry, host, port) for entry in allowed_hosts)


def _entry_means(entry: str, host: str, port: int) -> bool:
    entry = entry.strip().lower()
    if entry.startswith("["):
        name, _, wanted_port = entry[1:].partition("]")
        wanted_port = wanted_port.removeprefix(":")
    elif entry.count(":") == 1:
        name, _, wanted_port = entry.partition(":")
    else:
        name, wanted_port = entry, ""
    if wanted_port and wanted_port != str(port):
        return False
    return name.rstrip(".") == host or _same_address(name, host)


def _same_address(one: str, other: str) -> bool:
    try:
        return ipaddress.ip_address(one) == ipaddress.ip_address(other)
    except ValueError:
        return False


def _check_resolved(host: str, found: Collection[str]) -> None:
    for text in found:
        if not is_public(ipaddress.ip_address(text.partition("%")[0])):
            raise ForbiddenAddress(
                f"{host} resolves to an address that is not public. It must be allowed before it can be called."
            )


class GuardedResolver(AbstractResolver):
    """Resolves names for connections; a name with any private address is refused unless it is allowed itself."""

    def __init__(self, allowed_hosts: Collection[str], resolver: AbstractResolver | None = None) -> None:
        self._allowed_hosts = allowed_hosts
        self._resolver = resolver or aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        if not _is_allowed(host.lower().rstrip("."), port, self._allowed_hosts):
            _check_resolved(host, [entry["host"] for entry in found])
        return found

    async def close(self) -> None:
        await self._resolver.close()


@contextmanager
def _named_errors() -> Iterator[None]:
    """The transport calls every lost connection a connect time-out, and lets some errors through unnamed."""
    try:
        yield
    except httpx.TimeoutException as exc:
        if isinstance(exc.__cause__, aiohttp.ServerTimeoutError):
            raise
        if isinstance(exc.__cause__, aiohttp.ClientConnectorError):
            raise httpx.ConnectError("no connection") from exc
        raise httpx.RemoteProtocolError("the connection was lost") from exc
    except aiohttp.ClientError as exc:
        raise httpx.RemoteProtocolError("the answer is not HTTP") from exc


class _Stream(httpx.AsyncByteStream):
    def __init__(self, stream: httpx.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _named_errors():
            async for chunk in self._stream:
                yield chunk

    async def aclose(self) -> None:
        with _named_errors():
            await self._stream.aclose()


def _in_pieces(body: bytes) -> bytes | AsyncIterator[bytes]:
    """A large body is handed over bit by bit, so that writing it does not hold up everybody else."""
    if len(body) <= PIECE_BYTES:
        return body

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), PIECE_BYTES):
            yield body[start : start + PIECE_BYTES]

    return pieces()


class Answer:
    """What came back from a POST: its status, its headers, and its body as it comes. To be closed."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status_code = response.status
        self.headers: Mapping[str, str] = response.headers

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """Raises httpx.HTTPError when the connection breaks off."""
        try:
            async for piece in self._response.content.iter_any():
                yield piece
        except aiohttp.ClientError as exc:
            raise _error_of(exc) from exc

    async def aclose(self) -> None:
        self._response.release()
        await self._response.wait_for_close()


def _error_of(exc: aiohttp.ClientError) -> httpx.HTTPError:
    if isinstance(exc, aiohttp.ServerTimeoutError):
        return httpx.ConnectTimeout("no connection in time")
    if isinstance(exc, aiohttp.ClientConnectorError):
        return httpx.ConnectError("no connection")
    return httpx.RemoteProtocolError("the connection was lost, or the answer is not HTTP")


class GuardedTransport(AiohttpTransport):
    """Judges each request's URL before it goes out; its connector judges what the name resolves to."""

    def __init__(self, allowed_hosts: Collection[str], session: Callable[[], aiohttp.ClientSession]) -> None:
        super().__init__(client=session, trust_env=False)
        self._allowed_hosts = frozenset(allowed_hosts)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        guard(str(request.url), self._allowed_hosts)
        with _named_errors():
            response: httpx.Response = await super().handle_async_request(request)
        assert isinstance(response.stream, httpx.AsyncByteStream)
        response.stream = _Stream(response.stream)
        return response

    async def post(self, url: str, content: bytes, headers: Mapping[str, str], connect_s: float) -> Answer:
        """See `GuardedClient.post_as_is`."""
        guard(url, self._allowed_hosts)
        if not isinstance(self.client, aiohttp.ClientSession):
            self.client = self.get_client()
        # Its length is said, so that a body in pieces is not sent as chunks, which some servers refuse.
        said = {"User-Agent": "Atom", "Content-Length": str(len(content)), **headers}
        try:
            response = await self.client.request(
                "POST",
                url,
                data=_in_pieces(content),
                headers=said,
                allow_redirects=False,
                timeout=_connecting_within(connect_s),
            )
        except aiohttp.ClientError as exc:
            raise _error_of(exc) from exc
        return Answer(response)


@lru_cache
def _connecting_within(seconds: float) -> aiohttp.ClientTimeout:
    """For name, TCP and TLS together; nothing else is bounded."""
    return aiohttp.ClientTimeout(sock_connect=seconds, connect=seconds)


class GuardedClient(httpx.AsyncClient):
    """A client that follows no redirect, keeps no cookie, reads no proxy or netrc of the machine's, and is guarded."""

    def __init__(self, transport: GuardedTransport, *, timeout: httpx.Timeout) -> None:
        # One client serves many tenants: a cookie set for one must not go out with another's call.
        no_cookies = CookieJar(policy=DefaultCookiePolicy(allowed_domains=[]))
        super().__init__(
            transport=transport, timeout=timeout, cookies=no_cookies, follow_redirects=False, trust_env=False
        )
        self._way_out = transport

    async def post_as_is(self, url: str, content: bytes, headers: Mapping[str, str], connect_s: float) -> Answer:
        """The answer to this POST; a connection may take `connect_s` seconds.

        Straight to the transport: what httpx does around a request is not wanted here (it asks for cookies, credentials
        and redirects), and takes longer than the rest of asking. Raises httpx.HTTPError, ForbiddenAddress.
        """
        return await self._way_out.post(url, content, headers, connect_s)


def build_client(
    *, allowed_hosts: Collection[str], timeout: httpx.Timeout, resolver: AbstractResolver | None = None
) -> GuardedClient:
    """A guarded client.

    At most MAX_CONNECTIONS at once, kept alive for KEEP_ALIVE_S. Answers are not bounded: read them as streams, or
    bound them where they are read. `resolver` replaces the system's (the check stays).
    """
    allowed = tuple(allowed_hosts)

    def session() -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            limit=MAX_CONNECTIONS,
            keepalive_timeout=KEEP_ALIVE_S,
            resolver=GuardedResolver(allowed, resolver),
        )
        return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False)

    return GuardedClient(GuardedTransport(allowed, session), timeout=timeout)
