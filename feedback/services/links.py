"""Addresses at which people without an account judge one answer."""

from datetime import timedelta
from uuid import UUID

from django.core import signing
from django.db import transaction
from django.utils import timezone

from agents.models import Message
from atom.ground import audit
from atom.ground.errors import AtomError, BadRequest, Conflict, NotFound
from atom.ground.principal import Principal
from feedback.models import FeedbackLink

SALT = "atom.feedback.link"
DEFAULT_DAYS = 14
MOST_DAYS = 90


class LinkExpired(AtomError):
    code = "link_expired"
    type = "not_found_error"
    status = 410


@transaction.atomic
def make_link(*, principal: Principal, message: Message, expires_in_s: int = DEFAULT_DAYS * 86_400) -> FeedbackLink:
    """A link to judge this answer. BadRequest for what is no agent's answer, Conflict for an empty one."""
    if message.role != Message.Role.ASSISTANT:
        raise BadRequest("Feedback is about an agent's answer.", param="message")
    if not message.text.strip():
        raise Conflict("This run has no answer to judge.")
    link = FeedbackLink.objects.create(
        workspace_id=principal.workspace_id,
        message=message,
        created_by_id=principal.user_id,
        expires_at=timezone.now() + timedelta(seconds=expires_in_s),
    )
    _audited(principal, link, "made")
    return link


@transaction.atomic
def revoke_link(*, principal: Principal, link: FeedbackLink) -> None:
    """Take the link back; NotFound when it was already."""
    if not FeedbackLink.objects.filter(pk=link.pk, revoked_at=None).update(revoked_at=timezone.now()):
        raise NotFound("This link is already revoked.")
    _audited(principal, link, "revoked")


def _audited(principal: Principal, link: FeedbackLink, what: str) -> None:
    audit.append(
        workspace_id=principal.workspace_id,
        actor=principal.username,
        event=f"feedback.link_{what}",
        details={"link": link.id, "message": link.message_id, "expires_at": link.expires_at},
    )


def token_of(link: FeedbackLink) -> str:
    """What stands in the address. It names the link and nothing else; the rest is looked up."""
    return signing.Signer(salt=SALT).sign(link.id.hex)


def link_of(token: str) -> FeedbackLink:
    """The link that a token names: NotFound for what we have not signed, LinkExpired for what is over."""
    try:
        link_id = UUID(signing.Signer(salt=SALT).unsign(token))
    except (signing.BadSignature, ValueError) as exc:
        raise NotFound("There is no such feedback link.") from exc
    link = FeedbackLink.objects.select_related("message", "message__run__agent").filter(pk=link_id).first()
    if link is None:
        raise NotFound("There is no such feedback link.")
    if not link.is_usable:
        raise LinkExpired("This feedback link has expired.")
    return link
