"""`python -m tests.governance.watcher DATABASE WORKSPACE [AGENT]`: a process that keeps asking what is in force.

Writes a JSON line whenever the answer is another: the version of the policy, or the level and status of the agent; when
it was seen (seconds since 1970), and how the snapshots of this process fare. Ends with its standard input.
"""

import json
import os
import shutil
import sys
import threading
import time
from dataclasses import asdict
from uuid import UUID

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
django.setup()

from django.conf import settings  # noqa: E402  # after setup
from django.db import connection  # noqa: E402

from atom.ground import snapshots  # noqa: E402
from governance.known_agents import known_agent  # noqa: E402
from governance.policies.active import POLICIES  # noqa: E402

ASK_EVERY_S = 0.005


def of_policy() -> str | None:
    active = POLICIES.get(UUID(sys.argv[2])).active
    return active.name if active else None


def of_agent(agent_id: str) -> str | None:
    agent = known_agent(UUID(sys.argv[2]), UUID(agent_id))
    return f"{agent.maturity} {agent.status}" if agent else None


def main() -> None:
    connection.settings_dict["NAME"] = sys.argv[1]
    ended = threading.Event()

    def until_the_end() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=until_the_end, daemon=True).start()
    last: object = ...
    kind = "agents" if len(sys.argv) == 4 else "policies"
    while not ended.wait(ASK_EVERY_S):
        seen = of_agent(sys.argv[3]) if kind == "agents" else of_policy()
        if seen != last:
            print(json.dumps({"seen": seen, "at": time.time(), **asdict(snapshots.figures()[kind])}), flush=True)
            last = seen
    connection.close()
    shutil.rmtree(settings.ATOM_HOME, ignore_errors=True)


if __name__ == "__main__":
    main()
