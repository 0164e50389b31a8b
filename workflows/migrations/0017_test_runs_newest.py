"""List a test key's runs without reading the live ones between them."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("workflows", "0016_lane_bulk")]

    operations = [
        # What a build that died has left would stop the next one.
        migrations.RunSQL("DROP INDEX CONCURRENTLY IF EXISTS run_newest_test", migrations.RunSQL.noop),
        AddIndexConcurrently(
            model_name="run",
            index=models.Index(
                fields=["tenant", "-id"], name="run_newest_test", condition=models.Q(livemode=False)
            ),
        ),
    ]
