"""The Celery application: everything that can wait."""

import os
import threading
from typing import Any

import structlog
from celery import Celery
from celery.signals import worker_process_init, worker_ready, worker_shutting_down

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "atom.settings")

from atom.ground.health import WORKER_EVERY_S, WORKER_KEY  # after the settings are named
from atom.ground.processes import die_with_parent
from atom.ground.store import sync_store

log = structlog.get_logger(__name__)

app = Celery("atom")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()

_stopping = threading.Event()


@worker_ready.connect
def start_heartbeat(**_: Any) -> None:
    """Say every few seconds that the worker lives; `/readyz` listens."""
    threading.Thread(target=_beat, name="atom-heartbeat", daemon=True).start()


@worker_shutting_down.connect
def stop_heartbeat(**_: Any) -> None:
    _stopping.set()


@worker_process_init.connect
def follow_the_worker(**_: Any) -> None:
    """A pool process whose worker was killed has nobody left to work for."""
    die_with_parent()


def _beat() -> None:
    while not _stopping.is_set():
        try:
            sync_store().set(WORKER_KEY, b"1", px=int(WORKER_EVERY_S * 3000))
        except Exception:
            log.warning("heartbeat_not_written", exc_info=True)
        _stopping.wait(WORKER_EVERY_S)
    sync_store().delete(WORKER_KEY)
