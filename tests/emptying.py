"""The database is emptied after each test that commits, but for what Django itself knows of its models.

Django's own way writes all content types and permissions anew each time, and on PostgreSQL makes new files for every
table: most of a short test.
"""

from typing import Any

from django.contrib.auth.management import create_permissions
from django.contrib.contenttypes.management import create_contenttypes
from django.core.management.commands import flush
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.signals import post_migrate

# Written with the tables, and the same for every test.
CONSTANT = {"django_content_type", "auth_permission"}


def empty_by_deleting() -> None:
    """From now on in this process; the tables are there."""
    post_migrate.disconnect(create_contenttypes)
    post_migrate.disconnect(create_permissions, dispatch_uid="django.contrib.auth.management.create_permissions")
    flush.sql_flush = statements  # type: ignore[attr-defined]


def statements(style: object, connection: BaseDatabaseWrapper, **_: Any) -> list[str]:
    """Foreign keys are looked at when all is committed, so the order of the tables does not matter."""
    names = connection.introspection.django_table_names(only_existing=True, include_views=False)
    tables = [connection.ops.quote_name(name) for name in names if name not in CONSTANT]
    # Whoever still writes there is waited for, as by TRUNCATE; SQLite has one writer at a time anyway.
    locked = [f"LOCK TABLE {', '.join(tables)} IN ACCESS EXCLUSIVE MODE"] if connection.vendor == "postgresql" else []
    return [*locked, *(f"DELETE FROM {table}" for table in tables)]  # noqa: S608
