"""Find the runs that are past their tenant's retention without reading those that were purged."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("workflows", "0010_retention")]

    operations = [
        # What a build that died has left would stop the next one.
        migrations.RunSQL("DROP INDEX CONCURRENTLY IF EXISTS run_to_purge", migrations.RunSQL.noop),
        AddIndexConcurrently(
            model_name="run",
            index=models.Index(
                condition=models.Q(("purged_at", None)), fields=["finished_at"], name="run_to_purge"
            ),
        ),
    ]
