"""Facts inside governance that its learning wants to hear. A receiver queues a task, nothing more."""

from django.dispatch import Signal

# approval_id: UUID. Somebody decided, or nobody did in time.
approval_closed = Signal()
# agent_id: UUID. There is more to judge the agent's level by.
evidence_gained = Signal()
# triggered_id: UUID. A triggered run may start.
run_wanted = Signal()
