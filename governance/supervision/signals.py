"""Facts of supervision that confidence may want to hear. A receiver queues a task, nothing more."""

from django.dispatch import Signal

# run_id: UUID, agent_id: UUID, kind: str. An operator stepped in.
intervened = Signal()
