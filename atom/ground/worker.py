"""What each worker does beside its tasks: it keeps the journal."""

from typing import Any

from celery.signals import task_prerun, worker_ready, worker_shutting_down

from atom.ground.journal import Keeper, settle


@worker_ready.connect
def keep_the_journal(**_: Any) -> None:
    """Write what the web processes noted, in the worker's main process, which has little else to do."""
    keeper = Keeper()
    keeper.start()
    worker_shutting_down.connect(lambda **_: keeper.stop(), weak=False)


@task_prerun.connect
def read_nothing_old(**_: Any) -> None:
    """A task sees what was noted before it."""
    settle()
