"""The database is emptied after each test that commits: of what has rows, and not of what Django knows of its models.

Django's own way empties every table and then writes all content types and permissions anew: most of a short test.
"""

from collections.abc import Sequence
from typing import Any

from django.contrib.auth.management import create_permissions
from django.contrib.contenttypes.management import create_contenttypes
from django.core.management.commands import flush
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.signals import post_migrate

# Written with the tables, and the same for every test.
CONSTANT = {"django_content_type", "auth_permission"}


def empty_only_what_has_rows() -> None:
    """From now on in this process; the tables are there."""
    post_migrate.disconnect(create_contenttypes)
    post_migrate.disconnect(create_permissions, dispatch_uid="django.contrib.auth.management.create_permissions")
    flush.sql_flush = statements  # type: ignore[attr-defined]


def statements(style: object, connection: BaseDatabaseWrapper, **_: Any) -> Sequence[str]:
    """Foreign keys are looked at when all is committed, so the order of the tables does not matter."""
    names = connection.introspection.django_table_names(only_existing=True, include_views=False)
    quoted = {name: connection.ops.quote_name(name) for name in names if name not in CONSTANT}
    asked = " UNION ALL ".join(f"SELECT '{name}' WHERE EXISTS (SELECT 1 FROM {at})" for name, at in quoted.items())  # noqa: S608
    with connection.cursor() as cursor:
        cursor.execute(asked)
        return [f"DELETE FROM {quoted[name]}" for (name,) in cursor.fetchall()]  # noqa: S608
