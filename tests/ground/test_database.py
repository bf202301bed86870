"""One writer at a time on SQLite, whose own way to wait is to sleep."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection, transaction

from atom.ground.database import one_writer


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
