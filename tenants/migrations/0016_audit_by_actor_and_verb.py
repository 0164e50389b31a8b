"""The trail is found by who did it and by what was done; that a run was accepted, which is most of it, by the former alone."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


def _left(index: str) -> migrations.RunSQL:
    """Drops what a build that died has left, which would stop the next one."""
    return migrations.RunSQL(f"DROP INDEX CONCURRENTLY IF EXISTS {index}", migrations.RunSQL.noop)


class Migration(migrations.Migration):
    atomic = False  # indexes are built without holding up who writes

    dependencies = [("tenants", "0015_retention_days")]

    operations = [
        _left("auditevent_by_actor"),
        AddIndexConcurrently(
            "auditevent",
            models.Index(
                fields=["tenant", "actor", "-id"],
                opclasses=["uuid_ops", "varchar_pattern_ops", "uuid_ops"],
                name="auditevent_by_actor",
            ),
        ),
        _left("auditevent_by_verb"),
        AddIndexConcurrently(
            "auditevent",
            models.Index(
                fields=["tenant", "verb", "-id"],
                opclasses=["uuid_ops", "varchar_pattern_ops", "uuid_ops"],
                condition=models.Q(("verb", "run.accepted"), _negated=True),
                name="auditevent_by_verb",
            ),
        ),
    ]
