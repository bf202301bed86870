"""Facts that upper rooms may want to hear. A receiver queues a task, nothing more.

Both say only of which feedback. What it counts for is in its row, so hearing a fact twice or late does no harm.
"""

from django.dispatch import Signal

# feedback_id: UUID. Somebody said something about an answer, or something else than before.
feedback_given = Signal()
# feedback_id: UUID. Accepted, rejected, split, also for the second time; or taken back by who gave it.
feedback_judged = Signal()
