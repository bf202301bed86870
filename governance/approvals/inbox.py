"""The inbox: whoever has it open hears at once that an approval came, changed or went."""

from django.db import transaction

from atom.ground import news
from governance.models import Approval


def topic_of(workspace_id: object) -> str:
    return f"inbox:{workspace_id}"


def announce(approval: Approval) -> None:
    """Tell the open inboxes once the change is committed."""
    told = {"id": approval.pk}
    transaction.on_commit(lambda: news.tell(topic_of(approval.workspace_id), told))
