"""Real instances of Atom."""

from collections.abc import Callable, Iterator

import pytest

from tests.live.instance import Instance


@pytest.fixture(scope="session")
def live_atom(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """One whole Atom, local model included, for all tests that only ask it things."""
    instance = Instance(tmp_path_factory.mktemp("live") / "home")
    instance.start()
    yield instance
    instance.stop()


@pytest.fixture
def new_instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Instance]]:
    """Makes instances without a model, not started yet, that do not outlive their test."""
    made: list[Instance] = []

    def make(**settings: str) -> Instance:
        made.append(Instance(tmp_path_factory.mktemp("own") / "home", ATOM_LOCAL_MODEL="off", **settings))
        return made[-1]

    yield make
    for instance in made:
        if instance.process is not None:
            instance.kill()
