"""Facts that upper rooms may want to hear. A receiver does little: it queues a task, or forgets."""

from django.dispatch import Signal

# run_ids: list[UUID]
runs_ended = Signal()
