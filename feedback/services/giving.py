"""Saying something about an answer, saying something else, and taking it back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from agents import queries as agent_queries
from agents.models import Message, Run
from atom.ground.errors import AtomError, BadRequest, Conflict, Forbidden
from atom.ground.principal import Principal
from feedback import limits
from feedback.changes import changed, record
from feedback.models import Feedback, FeedbackLink, FeedbackRevision, FeedbackStatus
from feedback.services.judging import assign_by_specialty
from feedback.signals import feedback_given, feedback_judged
from feedback.webhooks.outbox import announce

MOST_TAGS = 10
NANO = 10**9


@dataclass(frozen=True, slots=True)
class Said:
    """The content of feedback. Blank text is none."""

    thumb: str = ""
    rating: int | None = None
    correction: str = ""
    comment: str = ""
    category: str = ""
    tags: Sequence[str] = field(default_factory=list)

    @classmethod
    def tidy(cls, **given: Any) -> "Said":
        """Texts without blanks around them, tags once each and in lower case; BadRequest when nothing was said."""
        texts = {name: str(given.get(name) or "").strip() for name in ("thumb", "correction", "comment", "category")}
        tags = [tag for tag in (str(tag).strip().lower() for tag in given.get("tags") or ()) if tag]
        said = cls(rating=given.get("rating"), tags=list(dict.fromkeys(tags)), **texts)
        if not (said.thumb or said.rating or said.correction or said.comment):
            raise BadRequest("Give at least one of thumb, rating, correction, comment.")
        if len(said.tags) > MOST_TAGS:
            raise BadRequest(f"At most {MOST_TAGS} tags.", param="tags")
        return said

    def as_columns(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in SAID}


SAID = ("thumb", "rating", "correction", "comment", "category", "tags")
# What a reviewer has judged; the rest may be put right without being judged again.
JUDGED = ("thumb", "rating", "correction")


def give_feedback(
    *, principal: Principal, message_id: UUID | None = None, run_id: UUID | None = None, **said: Any
) -> Feedback:
    """Keep what somebody says about an answer; what they said about it before becomes history.

    Names the answer by its message or its run: NotFound when it is unknown or foreign, BadRequest when nothing was
    said, Conflict when the run has no answer. Thumbs and ratings are accepted at once, corrections wait for a review.
    """
    limits.count_person(principal.user_id)
    return _give(principal, message_id, run_id, said)


@transaction.atomic
def give_batch(*, principal: Principal, batch: Sequence[Mapping[str, Any]]) -> list[Feedback]:
    """All of them or, when one is refused, none; the error's `param` begins with the place in the batch."""
    limits.count_person(principal.user_id, len(batch))
    given = []
    for place, each in enumerate(batch):
        rest = {name: value for name, value in each.items() if name not in {"message_id", "run_id"}}
        try:
            given.append(_give(principal, each.get("message_id"), each.get("run_id"), rest))
        except AtomError as exc:
            exc.param = f"{place}.{exc.param}" if exc.param else str(place)
            raise
    return given


@transaction.atomic
def give_by_link(*, link: FeedbackLink, **said: Any) -> Feedback:
    """From somebody without an account. Waits for a review whatever it says: nobody knows who it is."""
    limits.count_link(link.id)
    message = Message.objects.select_related("run").get(pk=link.message_id)
    return _keep(message, {"link": link}, Said.tidy(**said), by=f"feedback link {link.id}")


@transaction.atomic
def change_feedback(*, feedback: Feedback, principal: Principal, **changes: Any) -> Feedback:
    """Say some of it differently; what is not named stays. Forbidden for all but its author."""
    given = _own(feedback, principal)
    limits.count_person(principal.user_id)
    said = {name: getattr(given, name) for name in SAID}
    _say(given, Said.tidy(**{**said, **changes}), by=principal.username)
    return given


@transaction.atomic
def withdraw_feedback(*, feedback: Feedback, principal: Principal) -> None:
    """Take it back: it counts nowhere from now on, and its effect is reversed. Forbidden for all but its author."""
    given = _own(feedback, principal)
    _keep_revision(given)
    given.revision += 1
    given.withdrawn_at = given.updated_at = timezone.now()
    given.save(update_fields=["revision", "withdrawn_at", "updated_at"])
    record(given, principal.username, "withdrawn")
    changed(given, feedback_judged)
    announce(given, "feedback.withdrawn")


def _own(feedback: Feedback, principal: Principal) -> Feedback:
    given = Feedback.objects.select_for_update().get(pk=feedback.pk)
    if given.user_id != principal.user_id:
        raise Forbidden("Only who gave this feedback may change it.")
    if given.is_withdrawn:
        raise Conflict("This feedback was withdrawn.")
    return given


@transaction.atomic
def _give(principal: Principal, message_id: UUID | None, run_id: UUID | None, said: Mapping[str, Any]) -> Feedback:
    words = Said.tidy(**said)
    message = _answer(principal, message_id, run_id)
    return _keep(message, {"user_id": principal.user_id}, words, by=principal.username)


def _keep(message: Message, person: dict[str, Any], said: Said, *, by: str) -> Feedback:
    run = message.run
    # An assistant's message may hold nothing but tool calls: blocked, or still waiting for a person.
    if run is None or not message.text.strip():
        raise Conflict("This run has no answer to judge.")
    given, is_new = Feedback.objects.select_for_update().get_or_create(
        message=message,
        **person,
        defaults={
            **said.as_columns(),
            **_about(run),
            "status": _first_status(said, is_member="user_id" in person),
        },
    )
    if not is_new:
        _say(given, said, by=by)
        return given
    if given.status == FeedbackStatus.PENDING:
        assign_by_specialty(given)
    _told(given, by, "given")
    return given


def _about(run: Run) -> dict[str, Any]:
    """What the sums are made by, as it was when the answer was given."""
    first_s = run.time_to_first_token_s
    return {
        "workspace_id": run.workspace_id,
        "agent_id": run.agent_id,
        "session_id": run.session_id,
        "run": run,
        "provider": run.provider,
        "model": run.model,
        "prompt_version": run.prompt_version,
        "variant": run.variant,
        "cost_nano_usd": None if run.cost_usd is None else int(run.cost_usd * NANO),
        "latency_ms": None if first_s is None else round(first_s * 1000),
    }


def _first_status(said: Said, *, is_member: bool) -> str:
    return FeedbackStatus.PENDING if said.correction or not is_member else FeedbackStatus.ACCEPTED


def _say(given: Feedback, said: Said, *, by: str) -> None:
    """Put new words in the place of the old ones; saying the same again changes nothing."""
    words = said.as_columns()
    different = [name for name, value in words.items() if getattr(given, name) != value]
    if not different and not given.is_withdrawn:
        return
    _keep_revision(given)
    for name, value in words.items():
        setattr(given, name, value)
    if given.is_withdrawn or set(different) & set(JUDGED):
        _judge_again(given, said)
    given.withdrawn_at = None
    given.revision += 1
    given.updated_at = timezone.now()
    given.save()
    _told(given, by, "changed")


def _judge_again(given: Feedback, said: Said) -> None:
    """What a reviewer said was about other words. Once somebody had to judge, the new words are judged too."""
    was_judged = given.adjudicated_by_id is not None
    given.status = _first_status(said, is_member=given.user_id is not None and not was_judged)
    given.kept, given.note = "", ""
    given.adjudicated_at = None
    if given.status == FeedbackStatus.PENDING and given.assignee_id is None:
        assign_by_specialty(given)


def _keep_revision(given: Feedback) -> None:
    said = {name: getattr(given, name) for name in SAID}
    FeedbackRevision.objects.create(feedback=given, revision=given.revision, said=said, status=given.status)


def _told(given: Feedback, by: str, what: str) -> None:
    record(given, by, what, thumb=given.thumb, rating=given.rating)
    changed(given, feedback_given)
    announce(given, f"feedback.{what}")


def _answer(principal: Principal, message_id: UUID | None, run_id: UUID | None) -> Message:
    if message_id is not None:
        message = agent_queries.get_message(principal, message_id)
        if message.role != Message.Role.ASSISTANT:
            raise BadRequest("Feedback is about an agent's answer.", param="message_id")
        if run_id is not None and message.run_id != run_id:
            raise BadRequest("This message belongs to another run.", param="run_id")
        return message
    if run_id is None:
        raise BadRequest("Name the answer: message_id or run_id.", param="message_id")
    answer = agent_queries.answer_of(agent_queries.get_run(principal, run_id))
    if answer is None:
        raise Conflict("This run has no answer to judge.", param="run_id")
    return answer
