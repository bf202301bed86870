"""The first run's demo workspace: an admin, a token, and an agent of each maturity."""

import secrets

from django.conf import settings
from django.db import transaction

from agents.models import Maturity
from agents.services import create_agent, ensure_direct_agent
from atom.ground.home import write_private
from atom.ground.models import Membership, User, Workspace
from atom.ground.services import create_workspace
from atom.ground.tokens import create_token

MODELS = ["local/smollm2"]
AGENTS = [
    (
        "helper",
        "Helper",
        Maturity.AUTONOMOUS,
        "You are Helper, a friendly assistant. Answer in one to three short sentences.",
    ),
    (
        "student",
        "Student",
        Maturity.STUDENT,
        "You are Student, an assistant in training. You may read and explain. You never change anything: when asked "
        "to, say what you would do and that somebody else must do it.",
    ),
    (
        "intern",
        "Intern",
        Maturity.INTERN,
        "You are Intern, an assistant who drafts and proposes. Whatever changes something outside this conversation "
        "waits for a person's approval. Be brief and name the next step.",
    ),
    (
        "supervised",
        "Supervised",
        Maturity.SUPERVISED,
        "You are Supervised, an experienced assistant. A person watches your changes and may correct you; take "
        "corrections as they come. Be brief.",
    ),
    (
        "autonomous",
        "Autonomous",
        Maturity.AUTONOMOUS,
        "You are Autonomous, a trusted assistant. You act on your own within your limits, and report what you did in "
        "plain words.",
    ),
]


@transaction.atomic
def seed() -> bool:
    """Make the demo workspace in an empty installation; False when there is somebody already."""
    if User.objects.exists() or Workspace.objects.exists():
        return False
    password = secrets.token_urlsafe(15)
    admin = User.objects.create_superuser(username="admin", password=password)
    workspace = create_workspace(name="Demo", owner=admin, by="atom")
    for slug, name, maturity, prompt in AGENTS:
        create_agent(
            workspace_id=workspace.id,
            slug=slug,
            name=name,
            maturity=maturity,
            system_prompt=prompt,
            models=MODELS,
            owner_id=admin.id,
            by="atom",
        )
    ensure_direct_agent(workspace_id=workspace.id)
    membership = Membership.objects.get(workspace=workspace, user=admin)
    _, token = create_token(membership=membership, name="first run", by="atom")
    write_private(
        settings.CREDENTIALS_FILE,
        {
            "url": f"http://127.0.0.1:{settings.PORT}",
            "admin_username": admin.username,
            "admin_password": password,
            "access_token": token,
        },
    )
    return True
