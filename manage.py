#!/usr/bin/env python
"""Django's command line for Atom: `manage.py up`, `doctor`, `audit verify`, …"""

import os
import sys

from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "atom.settings")
    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as exc:
        # It is about a setting, and says which and why: nobody needs a traceback for that.
        sys.exit(f"atom: {exc}")
