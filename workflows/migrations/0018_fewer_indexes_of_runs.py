"""Accepting a run writes into every index of it: those that another one answers for go, and two become partial."""

from django.contrib.postgres.operations import AddIndexConcurrently, RemoveIndexConcurrently
from django.db import migrations, models

import tenants.base


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("workflows", "0017_test_runs_newest")]

    operations = [
        # What a build that died has left would stop the next one.
        migrations.RunSQL("DROP INDEX CONCURRENTLY IF EXISTS run_of_upload", migrations.RunSQL.noop),
        AddIndexConcurrently(
            model_name="run",
            index=models.Index(
                fields=["tenant", "upload"], name="run_of_upload", condition=~models.Q(upload=None)
            ),
        ),
        migrations.RunSQL("DROP INDEX CONCURRENTLY IF EXISTS run_ended_to_purge", migrations.RunSQL.noop),
        AddIndexConcurrently(
            model_name="run",
            index=models.Index(
                fields=["finished_at"],
                name="run_ended_to_purge",
                condition=models.Q(purged_at=None, finished_at__isnull=False),
            ),
        ),
        RemoveIndexConcurrently(model_name="run", name="run_to_purge"),
        # The key over (tenant, id) is read backwards.
        RemoveIndexConcurrently(model_name="run", name="run_newest"),
        # Their lookups by tenant have run_of_upload, run_by_workflow and run_event_in_order.
        migrations.AlterField(
            model_name="run",
            name="upload",
            field=tenants.base.tenant_relation(
                "workflows.Upload",
                null=True,
                on_delete=models.PROTECT,
                related_name="+",
                db_index=False,
            ),
        ),
        migrations.AlterField(
            model_name="run",
            name="workflow",
            field=tenants.base.tenant_relation(
                "workflows.Workflow", on_delete=models.PROTECT, related_name="runs", db_index=False
            ),
        ),
        migrations.AlterField(
            model_name="runevent",
            name="run",
            field=tenants.base.tenant_relation(
                "workflows.Run", on_delete=models.PROTECT, related_name="events", db_index=False
            ),
        ),
    ]
