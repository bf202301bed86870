"""One writer at a time on SQLite, whose own way to wait is to sleep; one reader for what many want at once."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection, transaction

from atom.ground.database import in_db_once, one_writer


@pytest.mark.django_db(transaction=True)
def test_on_sqlite_one_writer_begins_after_the_other_and_elsewhere_none_waits() -> None:
    is_in, may_go, second_is_in = threading.Event(), threading.Event(), threading.Event()

    def first() -> None:
        with one_writer():
            is_in.set()
            may_go.wait(20)

    def second() -> None:
        is_in.wait(20)
        with one_writer():
            second_is_in.set()

    with ThreadPoolExecutor(2) as pool:
        done = [pool.submit(first), pool.submit(second)]
        waits = not second_is_in.wait(0.3)
        may_go.set()
        for one in done:
            one.result(20)
    assert waits == (connection.vendor == "sqlite")
    assert second_is_in.is_set()


@pytest.mark.django_db(transaction=True)
def test_whoever_is_in_a_transaction_waits_for_no_other_writer() -> None:
    """The other may be waiting for this very transaction."""
    may_go, is_in = threading.Event(), threading.Event()

    def other() -> bool:
        with one_writer():
            is_in.set()
            return may_go.wait(10)

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(other)
        assert is_in.wait(20)
        with transaction.atomic(), one_writer():
            may_go.set()
        assert done.result(20)


class Library:
    """Counts how often it is read, and lets readers wait for each other."""

    def __init__(self) -> None:
        self.reads = 0
        self.may_answer = threading.Event()

    def read(self, title: str) -> str:
        self.reads += 1
        self.may_answer.wait(20)
        if title == "missing":
            raise LookupError(title)
        return title.upper()


async def test_what_many_want_at_once_is_read_once_and_later_again() -> None:
    library = Library()
    wanted = [asyncio.create_task(in_db_once(library.read, "a")) for _ in range(20)]
    other = asyncio.create_task(in_db_once(library.read, "b"))
    await asyncio.sleep(0.1)
    library.may_answer.set()
    assert await asyncio.gather(*wanted, other) == ["A"] * 20 + ["B"]
    assert library.reads == 2
    assert await in_db_once(library.read, "a") == "A"
    assert library.reads == 3


async def test_who_asked_first_may_go_and_a_failure_is_told_to_all() -> None:
    library = Library()
    first, *others = [asyncio.create_task(in_db_once(library.read, "missing")) for _ in range(5)]
    await asyncio.sleep(0.1)
    first.cancel()
    library.may_answer.set()
    told = await asyncio.gather(*others, return_exceptions=True)
    assert [type(one) for one in told] == [LookupError] * 4
    assert library.reads == 1
