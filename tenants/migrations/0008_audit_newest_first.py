"""The trail is read by id, which tells the time: newest first, and by what was touched."""

from django.contrib.postgres.operations import AddIndexConcurrently, RemoveIndexConcurrently
from django.db import migrations, models


def _left(index: str) -> migrations.RunSQL:
    """Drops what a build that died has left, which would stop the next one."""
    return migrations.RunSQL(f"DROP INDEX CONCURRENTLY IF EXISTS {index}", migrations.RunSQL.noop)


class Migration(migrations.Migration):
    atomic = False  # indexes are built and dropped without holding up who writes

    dependencies = [("tenants", "0007_leaving")]

    operations = [
        migrations.AlterModelOptions(name="auditevent", options={"ordering": ("-id",)}),
        _left("auditevent_newest"),
        AddIndexConcurrently("auditevent", models.Index(fields=["tenant", "-id"], name="auditevent_newest")),
        _left("auditevent_by_subject"),
        AddIndexConcurrently(
            "auditevent", models.Index(fields=["tenant", "subject_id", "-id"], name="auditevent_by_subject")
        ),
        RemoveIndexConcurrently("auditevent", "auditevent_tenant_at"),
    ]
