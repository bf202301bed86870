"""Facts that upper rooms may want to hear. A receiver does little: it queues a task, or forgets."""

from django.dispatch import Signal

# run_id: UUID, status: str
run_ended = Signal()
# workspace_id: UUID. In the transaction that changes an agent's level or status, before it writes.
agent_changing = Signal()
