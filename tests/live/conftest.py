"""Real instances of Atom."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.live.calls import upstream_of
from tests.live.instance import Instance
from tests.simulators.openai import OpenAISimulator


@pytest.fixture(scope="session")
def live_atom(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """One whole Atom, local model included, for all tests that only ask it things."""
    instance = Instance(tmp_path_factory.mktemp("live") / "home")
    instance.start()
    yield instance
    instance.stop()


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with all its tables and nothing in them: to make them takes longer than all else of a start."""
    instance = Instance(tmp_path_factory.mktemp("migrated") / "home")
    done = instance.manage("migrate", "--verbosity", "0")
    assert done.returncode == 0, done.stderr
    return instance.home / "atom.sqlite3"


def furnished(home: Path, database: Path, **settings: str) -> Instance:
    """An instance without a model that has its tables already."""
    home.mkdir(mode=0o700)
    shutil.copy(database, home)
    return Instance(home, ATOM_LOCAL_MODEL="off", **settings)


@pytest.fixture(scope="session")
def shared_provider() -> Iterator[OpenAISimulator]:
    with OpenAISimulator() as simulator:
        yield simulator


@pytest.fixture
def provider(shared_provider: OpenAISimulator) -> OpenAISimulator:
    """What answers for the `pair`, as if nobody had asked it yet."""
    shared_provider.forget()
    return shared_provider


@pytest.fixture(scope="session")
def pair(
    tmp_path_factory: pytest.TempPathFactory, migrated: Path, shared_provider: OpenAISimulator
) -> Iterator[Instance]:
    """Two web processes behind one address, for all tests that leave them as they were."""
    given = upstream_of(shared_provider.base_url, WEB_CONCURRENCY="2")
    instance = furnished(tmp_path_factory.mktemp("pair") / "home", migrated, **given)
    instance.start()
    yield instance
    instance.stop()


@pytest.fixture
def new_instance(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> Iterator[Callable[..., Instance]]:
    """Makes instances without a model, not started yet, that do not outlive their test."""
    made: list[Instance] = []

    def make(**settings: str) -> Instance:
        made.append(furnished(tmp_path_factory.mktemp("own") / "home", migrated, **settings))
        return made[-1]

    yield make
    for instance in made:
        if instance.process is not None:
            instance.kill()
