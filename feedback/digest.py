"""The figures of the last day or week by e-mail, for workspaces that asked for it."""

from collections.abc import Sequence
from datetime import date, timedelta
from uuid import UUID

import structlog
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.mail import send_mail
from django.core.validators import validate_email
from django.db import transaction
from django.db.models import Q
from django.template.loader import render_to_string

from atom.ground import audit
from atom.ground.errors import BadRequest
from atom.ground.models import Scope
from atom.ground.principal import Principal
from feedback.models import Digest, Frequency
from feedback.queries.sums import Wanted, cohorts_of, summary_of, today

log = structlog.get_logger(__name__)

DAYS = {Frequency.DAILY: 1, Frequency.WEEKLY: 7}
MOST_RECIPIENTS = 20
MOST_AGENTS = 20


@transaction.atomic
def set_digest(*, principal: Principal, frequency: str, recipients: Sequence[str]) -> Digest:
    """Turn the digest on or off; BadRequest for what is no address, or nobody to send it to."""
    principal.require(Scope.ADMIN)
    wanted = sorted({address.strip() for address in recipients})
    for address in wanted:
        try:
            validate_email(address)
        except ValidationError as exc:
            raise BadRequest("One of the recipients is not an e-mail address.", param="recipients") from exc
    if len(wanted) > MOST_RECIPIENTS:
        raise BadRequest(f"At most {MOST_RECIPIENTS} recipients.", param="recipients")
    if frequency != Frequency.OFF and not wanted:
        raise BadRequest("Name at least one recipient.", param="recipients")
    # The day until now counts as told: the first mail is about the first whole period after this.
    values = {"frequency": frequency, "recipients": wanted, "sent_for": today() - timedelta(days=1)}
    digest, _ = Digest.objects.update_or_create(workspace_id=principal.workspace_id, defaults=values)
    audit.append(
        workspace_id=principal.workspace_id,
        actor=principal.username,
        event="feedback.digest_set",
        details={"frequency": frequency, "recipients": wanted},
    )
    return digest


def digest_of(principal: Principal) -> Digest:
    found = Digest.objects.filter(workspace_id=principal.workspace_id).first()
    return found or Digest(workspace_id=principal.workspace_id)


def send_due() -> int:
    """Mail every digest whose period is over. Without a mail server configured nothing is sent, and nothing lost."""
    if not settings.ATOM_EMAIL_FROM:
        return 0
    told = 0
    for digest in Digest.objects.exclude(frequency=Frequency.OFF).select_related("workspace"):
        days = DAYS[Frequency(digest.frequency)]
        until = today() - timedelta(days=1)
        if digest.sent_for is not None and until - digest.sent_for < timedelta(days=days):
            continue
        # Whoever moves the day forward sends: two workers at once, or a repeated task, mail once.
        seen = Q(sent_for=digest.sent_for) if digest.sent_for else Q(sent_for=None)
        if Digest.objects.filter(seen, pk=digest.pk).update(sent_for=until):
            told += _send(digest, until - timedelta(days=days - 1), until)
    return told


def _send(digest: Digest, since: date, until: date) -> bool:
    subject, text = written(digest.workspace_id, digest.workspace.name, since, until)
    try:
        send_mail(subject, text, settings.ATOM_EMAIL_FROM, digest.recipients)
    except OSError:
        log.warning("digest_not_sent", workspace=str(digest.workspace_id))
        Digest.objects.filter(pk=digest.pk, sent_for=until).update(sent_for=digest.sent_for)
        return False
    return True


def written(workspace_id: UUID, name: str, since: date, until: date) -> tuple[str, str]:
    """Subject and text of a digest."""
    wanted = Wanted(since=since, until=until)
    summary = summary_of(workspace_id, wanted)
    agents = cohorts_of(workspace_id, wanted, "agent")[:MOST_AGENTS]
    context = {"name": name, "since": since, "until": until, "summary": summary, "agents": agents}
    period = f"{since}" if since == until else f"{since} to {until}"
    # A line break in a workspace's name may not become a header of its own.
    subject = " ".join(f"Feedback in {name}, {period}".split())
    return subject, render_to_string("feedback/digest.txt", context)
