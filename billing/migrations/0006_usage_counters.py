"""The month's records in counters that nobody waits for, and the function that takes from them where a plan stops hard.

Old code writes the ledger without them: `manage.py reconcile_usage --repair` after the release puts that right.
"""

import django.db.models.deletion
import django.db.models.functions.datetime
import tenants.ids
from django.db import migrations, models

TAKE = """
CREATE FUNCTION weir_take_quota(for_tenant uuid, wanted int, included bigint, partly bool) RETURNS int
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    month date := date_trunc('month', now() AT TIME ZONE 'utc')::date;
    own int := pg_backend_pid() & 15;
    used bigint;
    granted int;
    spare bigint;
BEGIN
    -- Within the own share, if the shares were dealt out of this quota and nobody has counted beside them.
    BEGIN
        UPDATE billing_usagecounter SET records = records + wanted
        WHERE tenant_id = for_tenant AND period = month AND slot = own AND records + wanted <= share
          AND NOT EXISTS (SELECT 1 FROM billing_usagecounter o WHERE o.tenant_id = for_tenant AND o.period = month
                          AND o.slot BETWEEN 0 AND 15 AND o.share_of IS DISTINCT FROM included);
        IF FOUND THEN
            RETURN wanted;
        END IF;
        -- An UPDATE that waited and then did not fit has kept its lock; the rows below are locked in order.
        RAISE EXCEPTION USING ERRCODE = 'WQ001';
    EXCEPTION WHEN SQLSTATE 'WQ001' THEN
        NULL;
    END;
    SELECT coalesce(sum(records), 0) INTO used FROM billing_usagecounter WHERE tenant_id = for_tenant AND period = month;
    IF used >= included THEN
        RETURN 0;
    END IF;
    INSERT INTO billing_usagecounter (id, tenant_id, period, slot)
    SELECT gen_random_uuid(), for_tenant, month, s FROM generate_series(0, 15) s
    ON CONFLICT (tenant_id, period, slot) DO NOTHING;
    PERFORM 1 FROM billing_usagecounter WHERE tenant_id = for_tenant AND period = month AND slot BETWEEN 0 AND 15
    ORDER BY slot FOR UPDATE;
    SELECT coalesce(sum(records), 0) INTO used FROM billing_usagecounter WHERE tenant_id = for_tenant AND period = month;
    granted := CASE WHEN used + wanted <= included THEN wanted WHEN partly THEN greatest(0, included - used) ELSE 0 END;
    IF granted = 0 THEN
        RETURN 0;
    END IF;
    spare := included - used - granted;
    UPDATE billing_usagecounter c
    SET records = n.records, share = n.records + spare / 16 + CASE WHEN n.slot < spare % 16 THEN 1 ELSE 0 END,
        share_of = included
    FROM (SELECT id, slot, records + CASE WHEN slot = own THEN granted ELSE 0 END AS records FROM billing_usagecounter
          WHERE tenant_id = for_tenant AND period = month AND slot BETWEEN 0 AND 15) n
    WHERE c.id = n.id;
    RETURN granted;
END
$$"""
DROP = "DROP FUNCTION weir_take_quota(uuid, int, bigint, bool)"
COUNT = """
INSERT INTO billing_usagecounter (id, tenant_id, period, slot, records)
SELECT gen_random_uuid(), tenant_id, period, 16, sum(quantity) FROM billing_usageevent
WHERE kind = 'record' AND livemode GROUP BY tenant_id, period"""


class Migration(migrations.Migration):
    dependencies = [("billing", "0005_stripe")]

    operations = [
        migrations.CreateModel(
            name="QuotaNotice",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=tenants.ids.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("period", models.DateField(help_text="first day of the calendar month (UTC)")),
                ("percent", models.PositiveSmallIntegerField()),
                ("used", models.BigIntegerField()),
                ("included", models.BigIntegerField()),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "tenant",
                    models.ForeignKey(
                        db_index=False,
                        editable=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("tenant", "period", "percent", "included"), name="quotanotice_once"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="UsageCounter",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=tenants.ids.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("period", models.DateField(help_text="first day of the calendar month (UTC)")),
                ("slot", models.IntegerField(help_text="0-15: accepted; 16: put right; below 0: given back")),
                ("records", models.BigIntegerField(db_default=0, default=0)),
                ("share", models.BigIntegerField(db_default=0, default=0)),
                ("share_of", models.BigIntegerField(null=True)),
                (
                    "tenant",
                    models.ForeignKey(
                        db_index=False,
                        editable=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("tenant", "period", "slot"), name="usagecounter_once")
                ],
            },
        ),
        # Every row is updated all the time, and no index of it is touched where the page has room.
        migrations.RunSQL("ALTER TABLE billing_usagecounter SET (fillfactor = 50)", migrations.RunSQL.noop),
        migrations.RunSQL(COUNT, migrations.RunSQL.noop),
        migrations.RunSQL(TAKE, DROP),
    ]
