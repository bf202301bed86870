"""`python -m atom.supervisor.shim COMMAND…`: become COMMAND, and die with the parent even when it is killed."""

import os
import sys

from atom.ground.processes import die_with_parent

if __name__ == "__main__":
    die_with_parent()
    os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606  # the command comes from the supervisor
