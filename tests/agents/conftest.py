from collections.abc import Callable, Iterator

import httpx
import pytest

from atom.ground.principal import Principal
from tests.events import bearer


@pytest.fixture
def http(server: str, alice: Principal, token_of: Callable[[Principal], str]) -> Iterator[httpx.Client]:
    """Alice's HTTP client against the running server."""
    with httpx.Client(base_url=server, headers=bearer(token_of(alice)), timeout=30) as client:
        yield client
