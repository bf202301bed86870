"""A secret that must turn up nowhere: its traces, the places to look for them, and faults that give it back."""

import base64
import html
import json
import logging
import traceback
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, quote_plus

import redis
from django.db import connection

from tests.simulators.scripts import Ending, Script, ScriptedCall
from tests.simulators.server import HANG_S, Simulator

# Like no provider's key, so that the net which takes key-like words out of logs cannot hide a leak.
SECRET = "Qx7+cAnArY/w0nt&sIng=for<any>ThIeF~Zk3vJ9"
# How much of its beginning or end is a trace already.
PIECE = 12
# What an error in the middle of a stream is called: Gemini's are numbers, the others' any word.
BROKEN = "503"


def traces_of(secret: str) -> frozenset[str]:
    """The secret in the forms in which it could be written down, and its two ends."""
    found = {secret[:PIECE], secret[-PIECE:], quote(secret, safe=""), quote_plus(secret), html.escape(secret)}
    found |= {repr(secret)[1:-1], json.dumps(secret)[1:-1], secret.encode().hex(), secret[::-1]}
    for before in ("", "Bearer ", "a", "ab"):
        # A text in the middle of base64 has one of three forms; its ends depend on its neighbours.
        text = base64.b64encode((before + secret).encode()).decode()
        found |= {form[8:-4] for form in (text, text.replace("+", "-").replace("/", "_"))}
    return frozenset(found)


TRACES = traces_of(SECRET)


def traces_in(text: str) -> list[str]:
    return sorted(trace for trace in TRACES if trace in text)


class Records(logging.Handler):
    """Every log record as it is made: message, arguments, all fields, traceback; before any formatter sees it."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(f"{record.name}: {record.getMessage()} {record.__dict__!r}")
        if record.exc_info and record.exc_info[1] is not None:
            self.texts.append("".join(traceback.format_exception(record.exc_info[1])))


def all_rows() -> Iterator[tuple[str, str]]:
    """Every row of every table of the database, as text, with its table's name."""
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")  # noqa: S608
            for row in cursor.fetchall():
                cells = [bytes(cell) if isinstance(cell, memoryview) else cell for cell in row]
                yield table, repr(cells)


def all_values(store: redis.Redis) -> Iterator[tuple[str, str]]:
    """Every key of the store with what it holds."""
    for key in store.scan_iter(count=1000):
        yield repr(key), repr(_value_of(store, key))


def _value_of(store: redis.Redis, key: bytes) -> Any:
    match store.type(key):
        case b"string":
            return store.get(key)
        case b"hash":
            return store.hgetall(key)
        case b"list":
            return store.lrange(key, 0, -1)
        case b"set":
            return store.smembers(key)
        case b"zset":
            return store.zrange(key, 0, -1, withscores=True)
        case b"stream":
            return store.xrange(key)
    return None


def faults(simulator: Simulator) -> list[Script]:
    """One script of every kind that a provider can go wrong with; wherever something can be said, the key is."""
    said = f"your key is {SECRET}"
    told = {
        "X-Echo": SECRET,
        "WWW-Authenticate": f"Bearer {SECRET}",
        "Retry-After": SECRET,
        "Set-Cookie": f"k={SECRET}",
    }
    elsewhere = [f"{simulator.root_url}/{quote(SECRET, safe='')}?key={quote_plus(SECRET)}", f"http://10.0.0.1/{SECRET}"]
    words = [f"{word} " for word in ("one", "two", "three")]
    wrong = json.dumps({"error": {"message": said, "type": said, "code": said, "param": said}})
    nonsense = json.dumps(dict.fromkeys(("choices", "output", "content", "candidates", "usage", "type"), said))
    sse_error = simulator.error_event(BROKEN, SECRET)
    return [
        *(
            Script(status=status, body=wrong, headers=told)
            for status in (400, 401, 402, 403, 404, 408, 409, 413, 418, 422, 425, 429, 500, 502, 503, 504, 529)
        ),
        *(Script(status=401, body=f"<html>{said} {{key}}</html>", content_type="text/html") for _ in range(2)),
        *(
            Script(status=status, body=said, headers={"Location": where})
            for status in (301, 302, 303, 307, 308)
            for where in elsewhere
        ),
        Script(status=204, body=""),
        Script(status=206, body=wrong, headers=told),
        Script(body=f"<html><title>{said}</title></html>", content_type="text/html"),
        Script(body=wrong, headers=told),
        Script(body=wrong, content_type="text/event-stream"),
        Script(body=nonsense),
        Script(body=""),
        Script(body=f"[{said}"),
        Script(raw=[f"data: {{{said}\n\n".encode()], content_type="text/event-stream", headers=told),
        Script(raw=[f"data: {nonsense}\n\n".encode()], content_type="text/event-stream"),
        Script(raw=[f"event: {SECRET}\nid: {SECRET}\ndata: {wrong}\n\n".encode()], content_type="text/event-stream"),
        Script(raw=[f"data: {'x' * 1_000_000}{SECRET}\n\n".encode()], content_type="text/event-stream"),
        Script(raw=[b"\xff\xfe", SECRET.encode(), b"\x00\n\n"], content_type="text/event-stream"),
        Script(raw=[sse_error.encode()], content_type="text/event-stream"),
        Script(raw=[], content_type="text/event-stream", ending=Ending.RST),
        Script(pieces=words, cut_after=1, error=BROKEN, headers=told),
        Script(pieces=words, cut_after=0, error=BROKEN),
        Script(pieces=words, cut_after=2, ending=Ending.RST, headers=told),
        Script(pieces=words, cut_after=2, ending=Ending.EOF),
        Script(pieces=words, cut_after=1, ending=Ending.HANG),
        Script(headers_delay_s=HANG_S),
        Script(first_delay_s=HANG_S, headers=told),
        Script(pieces=words, delay_s=HANG_S),
        Script(pieces=words, finish=SECRET, headers=told),
        Script(pieces=["I was asked with ", SECRET, "."]),
        Script(pieces=["I was asked with ", *(SECRET[at : at + 3] for at in range(0, len(SECRET), 3)), "."]),
        Script(thinking=[SECRET[:20], SECRET[20:]], pieces=words),
        Script(calls=[ScriptedCall("tell", json.dumps({"key": SECRET}), "call_1")]),
        Script(pieces=["I was asked with ", SECRET[:30]], cut_after=2, ending=Ending.RST),
        Script(pieces=words, done=False),
        Script(pieces=words, usage=None),
        Script(pieces=words, pings=True, newline="\r\n", headers=told),
    ]
