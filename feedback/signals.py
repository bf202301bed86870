"""Facts that upper rooms may want to hear. A receiver queues a task, nothing more."""

from django.dispatch import Signal

# feedback_id: UUID
feedback_given = Signal()
# feedback_id: UUID. Accepted or rejected, also for the second time.
feedback_judged = Signal()
