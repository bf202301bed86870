from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from atom.ground.principal import Principal
from tests.events import bearer
from tests.simulators.mcp_server import http_server


@pytest.fixture
def http(server: str, alice: Principal, token_of: Callable[[Principal], str]) -> Iterator[httpx.Client]:
    """Alice's HTTP client against the running server."""
    with httpx.Client(base_url=server, headers=bearer(token_of(alice)), timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
def mcp_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    folder = tmp_path_factory.mktemp("mcp")
    with http_server(folder) as url:
        yield folder, url


@pytest.fixture
def mcp_folder(mcp_process: tuple[Path, str]) -> Path:
    """The folder of the MCP server under test, empty at the start of each test."""
    folder = mcp_process[0]
    for file in folder.iterdir():
        file.unlink()
    return folder


@pytest.fixture
def mcp_url(mcp_process: tuple[Path, str], mcp_folder: Path) -> str:
    """The address of a real MCP server in a process of its own."""
    return mcp_process[1]
