"""How much feedback one person, or one link, may give in a minute; counted in the store."""

import time

import structlog
from django.conf import settings
from redis.exceptions import RedisError

from atom.ground.errors import AtomError, Unavailable
from atom.ground.store import sync_store

log = structlog.get_logger(__name__)

WINDOW_S = 60
# After the store failed to answer it is not asked for this long: nobody waits for it again and again.
LOOK_AWAY_S = 20.0
LINK_PER_MINUTE = 20

_away_until = 0.0


class TooMuchFeedback(AtomError):
    code = "too_many_requests"
    type = "rate_limit_error"
    status = 429
    retryable = True


def count_person(user_id: object, said: int = 1) -> None:
    """Raise TooMuchFeedback when this person has said more than `ATOM_FEEDBACK_PER_MINUTE` in this minute."""
    _count(f"user:{user_id}", said, settings.ATOM_FEEDBACK_PER_MINUTE)


def count_link(link_id: object) -> None:
    _count(f"link:{link_id}", 1, LINK_PER_MINUTE)


def _count(name: str, said: int, most: int) -> None:
    global _away_until  # noqa: PLW0603  # one memory a process
    if time.monotonic() < _away_until:
        return
    now = time.time()
    key = f"atom:feedback:rate:{name}:{int(now // WINDOW_S)}"
    try:
        with sync_store().pipeline() as pipe:
            pipe.incrby(key, said)
            pipe.expire(key, WINDOW_S * 2)
            counted = pipe.execute()[0]
    except (RedisError, Unavailable):
        # Feedback is worth more than the limit: without a store nobody is refused.
        _away_until = time.monotonic() + LOOK_AWAY_S
        log.warning("feedback_not_counted")
        return
    if counted > most:
        wait_s = WINDOW_S - int(now % WINDOW_S)
        raise TooMuchFeedback(f"At most {most} feedbacks a minute. Try again in {wait_s} s.", retry_after_s=wait_s)
