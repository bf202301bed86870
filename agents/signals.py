"""Facts that upper rooms may want to hear. A receiver queues a task, nothing more."""

from django.dispatch import Signal

# run_id: UUID, status: str
run_ended = Signal()
