"""Many at once, on real row locks."""

import json
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import timedelta
from subprocess import PIPE

import pytest
from django.conf import settings
from django.db import connection
from django.utils import timezone
from rest_framework.test import APIClient

from atom.ground import audit
from atom.ground.errors import AlreadyDecided
from atom.ground.models import AuditEntry
from atom.ground.principal import Principal
from governance import execution, services
from governance.models import Approval, ApprovalStatus
from tests.governance.conftest import Tool

pytestmark = [pytest.mark.postgres, pytest.mark.django_db(transaction=True)]
MANY = 32


def all_at_once(work: Callable[[], object]) -> Counter[object]:
    """What `work` gave to each of 32 threads, which set out together on connections of their own."""
    line = threading.Barrier(MANY)

    def one() -> object:
        try:
            connection.ensure_connection()
            line.wait()
            return work()
        finally:
            connection.close()

    with ThreadPoolExecutor(MANY) as pool:
        return Counter(done.result() for done in [pool.submit(one) for _ in range(MANY)])


def test_of_32_approvers_one_wins(ask: Callable[..., Approval], bob: Principal) -> None:
    approval = ask()

    def approve() -> str:
        try:
            services.approve(approval=approval, principal=bob, revision=1)
        except AlreadyDecided:
            return "too late"
        return "won"

    assert all_at_once(approve) == {"won": 1, "too late": MANY - 1}
    assert AuditEntry.objects.filter(event="approval.approved").count() == 1
    assert audit.verify(approval.workspace_id) is None


def test_over_http_31_of_32_are_told_409(
    ask: Callable[..., Approval], bob: Principal, token_of: Callable[[Principal], str]
) -> None:
    path, token = f"/api/approvals/{ask().id}/approve/", token_of(bob)

    def approve() -> int:
        client = APIClient(HTTP_AUTHORIZATION=f"Bearer {token}")
        return client.post(path, {"revision": 1}, format="json").status_code

    assert all_at_once(approve) == {200: 1, 409: MANY - 1}


def test_of_32_different_decisions_one_stands(ask: Callable[..., Approval], bob: Principal) -> None:
    approval = ask()
    verbs = iter([services.approve, services.reject, services.cancel, services.reject] * (MANY // 4))

    def decide() -> str:
        try:
            return next(verbs)(approval=approval, principal=bob, revision=1).status
        except AlreadyDecided:
            return "too late"

    given = all_at_once(decide)
    approval.refresh_from_db()
    assert given == {"too late": MANY - 1, approval.status: 1}


def test_of_32_takers_one_gets_it(ask: Callable[..., Approval], bob: Principal) -> None:
    approval = ask()
    services.approve(approval=approval, principal=bob, revision=1)
    assert all_at_once(lambda: services.take(approval.id).status) == {"approved": 1, "refused": MANY - 1}


def test_of_32_workers_one_runs_it(run_approval: Approval, tool: Tool, store: object) -> None:
    Approval.objects.update(status=ApprovalStatus.APPROVED, claimed_until=timezone.now() - timedelta(seconds=1))
    assert all_at_once(lambda: execution.execute(run_approval.id)) == {True: 1, False: MANY - 1}
    assert len(tool.calls) == 1


@pytest.mark.timeout(600)
def test_of_a_hundred_approvals_before_32_deciders_in_two_processes_each_has_one_winner(
    ask: Callable[..., Approval], bob: Principal, store_url: str, store: object
) -> None:
    ids = [str(ask().pk) for _ in range(100)]
    command = [sys.executable, "-m", "tests.governance.deciders", connection.settings_dict["NAME"], str(bob.user_id)]
    # One installation: without its secret key the deciders' audit entries would be sealed with keys of their own.
    shared = {"REDIS_URL": store_url, "ATOM_SECRET_KEY": settings.SECRET_KEY}
    environment = {**os.environ, **shared, "DJANGO_SETTINGS_MODULE": "tests.settings"}
    with ExitStack() as stack:
        deciders = [
            stack.enter_context(subprocess.Popen(command, env=environment, text=True, stdin=PIPE, stdout=PIPE))
            for _ in range(2)
        ]
        for one in deciders:
            assert one.stdout is not None
            assert one.stdout.readline() == "ready\n"
        for one in deciders:
            assert one.stdin is not None
            one.stdin.write(f"{json.dumps(ids)}\n")
            one.stdin.flush()
        given = [Counter(json.loads(one.communicate()[0])) for one in deciders]
    won = given[0] + given[1]
    assert won.pop("too late") == 100 * (MANY - 1)
    assert sorted(won) == sorted(f"{row.pk} {row.status}" for row in Approval.objects.all())
    assert set(won.values()) == {1}
    decided = AuditEntry.objects.filter(event__in=["approval.approved", "approval.rejected", "approval.cancelled"])
    assert decided.count() == 100
    assert audit.verify(bob.workspace_id) is None
