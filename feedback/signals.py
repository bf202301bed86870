"""Facts that upper rooms may want to hear. A receiver queues a task, nothing more."""

from django.dispatch import Signal

# feedback_id: UUID. Somebody said something about an answer, or something else than before.
feedback_given = Signal()
# feedback_id: UUID. Accepted or rejected, also for the second time.
feedback_judged = Signal()

# feedback_id: UUID, outcome: `accepted` or `reversed`. `accepted`: it counts as evidence from now on (thumbs and
# ratings of members at once, corrections when a reviewer accepts them). `reversed`: what counted before counts no
# longer, because it was rejected, withdrawn or changed; `accepted` may follow for what counts instead.
# `feedback.queries.evidence_of` says what counts now, so hearing a fact twice or late does no harm.
feedback_adjudicated = Signal()

ACCEPTED = "accepted"
REVERSED = "reversed"
