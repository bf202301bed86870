"""Who judges feedback, and what they decide."""

from typing import Literal
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import Count, Q
from django.utils import timezone

from atom.ground import audit
from atom.ground.errors import BadRequest, Conflict, Forbidden, NotFound
from atom.ground.models import ROLE_SCOPES, Membership, Scope
from atom.ground.principal import Principal
from feedback.changes import changed, record
from feedback.models import Feedback, FeedbackStatus, Part, Reviewer
from feedback.signals import feedback_judged
from feedback.webhooks.outbox import announce

Decision = Literal["accept", "reject", "split"]
STATUS_OF = {
    "accept": FeedbackStatus.ACCEPTED,
    "reject": FeedbackStatus.REJECTED,
    "split": FeedbackStatus.SPLIT,
}


def may_judge(principal: Principal, feedback: Feedback) -> bool:
    """Owners and approvers judge everything; a reviewer their categories, but never their own words."""
    if Scope.APPROVE in principal.scopes:
        return True
    return feedback.user_id != principal.user_id and _is_reviewer(
        feedback.workspace_id, principal.user_id, feedback.category
    )


def _is_reviewer(workspace_id: UUID, user_id: UUID, category: str) -> bool:
    return Reviewer.objects.filter(workspace_id=workspace_id, user_id=user_id, category__in={"", category}).exists()


@transaction.atomic
def adjudicate(
    *, feedback: Feedback, principal: Principal, decision: Decision, keep: str = "", note: str = ""
) -> Feedback:
    """Accept, reject, or split: keep one part (`opinion` or `correction`) and reject the other.

    The same decision twice is a Conflict, another one turns the first round. Forbidden for who is no reviewer of it.
    """
    if not may_judge(principal, feedback):
        raise Forbidden("Only owners, approvers and reviewers of this category judge feedback.")
    given = Feedback.objects.select_for_update().get(pk=feedback.pk)
    _check(given, decision, keep)
    given.status, given.kept = STATUS_OF[decision], keep if decision == "split" else ""
    given.adjudicated_by_id, given.adjudicated_at, given.note = principal.user_id, timezone.now(), note
    given.save(update_fields=["status", "kept", "adjudicated_by", "adjudicated_at", "note"])
    record(given, principal.username, given.status, kept=given.kept, note=note)
    changed(given, feedback_judged)
    announce(given, f"feedback.{given.status}")
    return given


def _check(given: Feedback, decision: Decision, keep: str) -> None:
    if given.is_withdrawn:
        raise Conflict("This feedback was withdrawn.")
    if decision == "split":
        if keep not in Part.values:
            raise BadRequest("A split keeps one part: opinion or correction.", param="keep")
        if not given.can_split:
            raise BadRequest(
                "There is nothing to split: it has no correction, or no thumb or rating.", param="decision"
            )
    is_same = given.status == STATUS_OF[decision] and (decision != "split" or given.kept == keep)
    if is_same:
        raise Conflict(f"This feedback is {given.status} already.")


@transaction.atomic
def assign(*, feedback: Feedback, principal: Principal, user_id: UUID | None) -> Feedback:
    """Put it on somebody's desk, or with None on nobody's. BadRequest for who may not judge it."""
    if not may_judge(principal, feedback):
        raise Forbidden("Only owners, approvers and reviewers of this category hand out feedback.")
    if user_id is not None:
        _check_assignee(feedback, user_id)
    Feedback.objects.filter(pk=feedback.pk).update(assignee_id=user_id)
    record(feedback, principal.username, "assigned", assignee=user_id)
    feedback.refresh_from_db()
    return feedback


def _check_assignee(feedback: Feedback, user_id: UUID) -> None:
    member = Membership.objects.filter(workspace_id=feedback.workspace_id, user_id=user_id).first()
    if member is None:
        raise NotFound("There is no such member.", param="assignee")
    is_reviewer = _is_reviewer(feedback.workspace_id, user_id, feedback.category)
    if Scope.APPROVE not in ROLE_SCOPES[member.role] and not is_reviewer:
        raise BadRequest("This member may not judge this feedback.", param="assignee")


def assign_by_specialty(given: Feedback) -> None:
    """New feedback goes to the category's reviewer with the least to do; nobody's where there is none."""
    waiting = Feedback.objects.filter(
        workspace_id=given.workspace_id, status=FeedbackStatus.PENDING, withdrawn_at=None, assignee__isnull=False
    )
    counts = dict(waiting.order_by().values_list("assignee_id").annotate(Count("pk")))
    special = Reviewer.objects.filter(workspace_id=given.workspace_id, category__in={"", given.category})
    # An author does not judge their own words.
    others = special.exclude(Q(user_id=given.user_id)).order_by("created_at")
    found = sorted(others, key=lambda reviewer: (reviewer.category == "", counts.get(reviewer.user_id, 0)))
    if found:
        given.assignee_id = found[0].user_id
        Feedback.objects.filter(pk=given.pk).update(assignee_id=given.assignee_id)


@transaction.atomic
def add_reviewer(*, principal: Principal, user_id: UUID, category: str = "") -> Reviewer:
    """Trust a member with one category, or with all; for owners."""
    principal.require(Scope.ADMIN)
    if not Membership.objects.filter(workspace_id=principal.workspace_id, user_id=user_id).exists():
        raise NotFound("There is no such member.", param="user")
    category = category.strip()
    try:
        with transaction.atomic():
            made = Reviewer.objects.create(workspace_id=principal.workspace_id, user_id=user_id, category=category)
    except IntegrityError as exc:
        raise Conflict("This member reviews that category already.") from exc
    _audit_reviewer(principal, made, "added")
    return made


@transaction.atomic
def remove_reviewer(*, principal: Principal, reviewer: Reviewer) -> None:
    principal.require(Scope.ADMIN)
    _audit_reviewer(principal, reviewer, "removed")
    reviewer.delete()


def _audit_reviewer(principal: Principal, reviewer: Reviewer, what: str) -> None:
    audit.append(
        workspace_id=principal.workspace_id,
        actor=principal.username,
        event=f"feedback.reviewer_{what}",
        details={"member": reviewer.user_id, "category": reviewer.category},
    )
