"""`python -m tests.governance.deciders DATABASE USER`: one process of many deciders, for the races.

Reads approvals' ids from standard input, one JSON list a line, and lets its threads decide each of them at the same
moment as everybody else. Writes who won what as one JSON object.
"""

import json
import os
import shutil
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
django.setup()

from django.conf import settings  # noqa: E402  # after setup
from django.db import connection  # noqa: E402

from atom.ground.errors import AlreadyDecided  # noqa: E402
from atom.ground.tokens import principal_of_user  # noqa: E402
from governance import services  # noqa: E402
from governance.models import Approval  # noqa: E402

THREADS = 16
VERBS = {"approved": services.approve, "rejected": services.reject, "cancelled": services.cancel}


def main() -> None:
    connection.settings_dict["NAME"] = sys.argv[1]
    decider = principal_of_user(UUID(sys.argv[2]))
    line = threading.Barrier(THREADS + 1)
    ids: list[str] = []

    def one(place: int) -> Counter[str]:
        verb = list(VERBS)[place % len(VERBS)]
        won: Counter[str] = Counter()
        connection.ensure_connection()
        line.wait()
        line.wait()
        for approval_id in ids:
            try:
                VERBS[verb](approval=Approval.objects.get(pk=approval_id), principal=decider, revision=1)
            except AlreadyDecided:
                won["too late"] += 1
            else:
                won[f"{approval_id} {verb}"] += 1
        connection.close()
        return won

    with ThreadPoolExecutor(THREADS) as pool:
        deciding = [pool.submit(one, place) for place in range(THREADS)]
        line.wait()
        print("ready", flush=True)
        ids += json.loads(sys.stdin.readline())
        line.wait()
        print(json.dumps(sum((done.result() for done in deciding), Counter())), flush=True)
    shutil.rmtree(settings.ATOM_HOME, ignore_errors=True)


if __name__ == "__main__":
    main()
