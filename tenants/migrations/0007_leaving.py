"""Exports of everything a tenant holds, tenants that are being closed, and what is left of those that are gone."""

import django.db.models.deletion
import django.db.models.functions.datetime
import tenants.ids
import uuid
from django.db import migrations, models


# Rows of append-only tables go with their tenant, and no login may delete them otherwise. The ops login asks for it
# here, by id; the function looks that the tenant is being closed.
ERASE = """
CREATE FUNCTION public.weir_erase_rows(wanted uuid, target regclass, ids uuid[]) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
DECLARE gone bigint;
BEGIN
    IF NOT EXISTS (SELECT 1 FROM public.tenants_tenant t WHERE t.id = wanted AND t.status = 'closing') THEN
        RAISE EXCEPTION 'This tenant is not being closed.' USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF NOT EXISTS (SELECT 1 FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
                   WHERE c.oid = target AND c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
                     AND a.attname = 'tenant_id' AND NOT a.attisdropped) THEN
        RAISE EXCEPTION 'This is no table of tenants.' USING ERRCODE = 'insufficient_privilege';
    END IF;
    EXECUTE format('DELETE FROM %s WHERE tenant_id = $1 AND id = ANY($2)', target) USING wanted, ids;
    GET DIAGNOSTICS gone = ROW_COUNT;
    RETURN gone;
END $$;
REVOKE ALL ON FUNCTION public.weir_erase_rows(uuid, regclass, uuid[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.weir_erase_rows(uuid, regclass, uuid[]) TO weir_ops;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("tenants", "0004_membership_owner"),
    ]

    operations = [
        migrations.CreateModel(
            name="ClosedTenant",
            fields=[
                (
                    "id",
                    models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False),
                ),
                (
                    "erasing",
                    models.UUIDField(
                        help_text="the tenant's id while it is being erased; nothing afterwards",
                        null=True,
                        unique=True,
                    ),
                ),
                ("plan", models.CharField(max_length=32)),
                ("closed_by", models.CharField(help_text="owner, or staff:<e-mail>", max_length=200)),
                (
                    "reason",
                    models.CharField(blank=True, help_text="what staff gave as the reason", max_length=200),
                ),
                ("counts", models.JSONField(default=dict, help_text="table -> rows erased")),
                ("closed_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("erased_at", models.DateTimeField(null=True)),
            ],
            options={
                "ordering": ("-closed_at",),
            },
        ),
        migrations.AlterField(
            model_name="tenant",
            name="status",
            field=models.CharField(
                choices=[("active", "Active"), ("suspended", "Suspended"), ("closing", "Closing")],
                default="active",
                max_length=16,
            ),
        ),
        migrations.CreateModel(
            name="TenantExport",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=tenants.ids.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("waiting", "Waiting"),
                            ("preparing", "Preparing"),
                            ("ready", "Ready"),
                            ("failed", "Failed"),
                            ("expired", "Expired"),
                        ],
                        default="waiting",
                        max_length=16,
                    ),
                ),
                ("done", models.PositiveBigIntegerField(default=0, help_text="rows written so far")),
                (
                    "total",
                    models.PositiveBigIntegerField(default=0, help_text="rows that there were at the start"),
                ),
                ("stored_as", models.CharField(blank=True, max_length=200)),
                ("size", models.BigIntegerField(default=0, help_text="bytes")),
                ("error", models.CharField(blank=True, max_length=300)),
                ("created_by", models.CharField(max_length=200)),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("seen_at", models.DateTimeField(null=True)),
                ("worker", models.UUIDField(null=True)),
                ("finished_at", models.DateTimeField(null=True)),
                ("expires_at", models.DateTimeField(null=True)),
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
                "ordering": ("-created_at",),
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("status__in", ["waiting", "preparing"])),
                        fields=("tenant",),
                        name="tenantexport_one_at_a_time",
                    )
                ],
            },
        ),
        migrations.RunSQL(ERASE, "DROP FUNCTION public.weir_erase_rows(uuid, regclass, uuid[])"),
    ]
