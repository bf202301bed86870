"""The database itself refuses to change or delete an audit entry."""

from django.db import migrations

TABLE = "ground_auditentry"
SQLITE = {
    verb: f"""
    CREATE TRIGGER audit_no_{verb} BEFORE {verb} ON {TABLE}
    BEGIN SELECT RAISE(ABORT, 'audit entries are never changed'); END
    """
    for verb in ("update", "delete")
}
POSTGRES = f"""
CREATE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'audit entries are never changed'; END $$;
CREATE TRIGGER audit_no_change BEFORE UPDATE OR DELETE ON {TABLE} FOR EACH ROW EXECUTE FUNCTION audit_refuse();
CREATE TRIGGER audit_no_truncate BEFORE TRUNCATE ON {TABLE} FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();
"""


def protect(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(POSTGRES)
    else:
        for statement in SQLITE.values():
            schema_editor.execute(statement)


def release(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(f"DROP TRIGGER audit_no_change ON {TABLE}; DROP TRIGGER audit_no_truncate ON {TABLE}")
        schema_editor.execute("DROP FUNCTION audit_refuse()")
    else:
        for verb in SQLITE:
            schema_editor.execute(f"DROP TRIGGER audit_no_{verb}")


class Migration(migrations.Migration):
    dependencies = [("ground", "0001_initial")]
    operations = [migrations.RunPython(protect, release)]
