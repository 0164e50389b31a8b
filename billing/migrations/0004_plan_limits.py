"""Lanes, seats, requests a second and prices of plans; what is agreed with a tenant beside its plan."""

import django.db.models.deletion
import django.db.models.functions.datetime
import tenants.ids
from django.db import migrations, models

LIMITS = {
    "free": ({"requests_per_second": 100, "lanes": 10, "seats": 5}, {}),
    "pro": (
        {"requests_per_second": 1_000, "lanes": 100, "seats": 25, "price": 99, "overage_price": "0.01"},
        {"requests_per_minute": (3_000, 60_000)},
    ),
    "enterprise": (
        {"requests_per_second": 2_000, "lanes": None, "seats": None, "price": 999, "overage_price": "0.004"},
        {"requests_per_minute": (60_000, 120_000)},
    ),
}


def fill(apps, schema_editor):
    plans = apps.get_model("billing", "Plan").objects.using(schema_editor.connection.alias)
    for slug, (values, raised) in LIMITS.items():
        plans.filter(slug=slug).update(**values)
        for name, (was, now) in raised.items():
            plans.filter(slug=slug, **{name: was}).update(**{name: now})  # not where operators chose another


def unfill(apps, schema_editor):
    plans = apps.get_model("billing", "Plan").objects.using(schema_editor.connection.alias)
    for slug, (_, raised) in LIMITS.items():
        for name, (was, now) in raised.items():
            plans.filter(slug=slug, **{name: now}).update(**{name: was})


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0003_closed_ledger"),
        ("tenants", "0015_retention_days"),
    ]

    operations = [
        migrations.AddField(
            model_name="plan",
            name="currency",
            field=models.CharField(db_default="USD", default="USD", max_length=3),
        ),
        migrations.AddField(
            model_name="plan",
            name="lanes",
            field=models.PositiveIntegerField(
                blank=True, help_text="Live connections. Empty: no limit.", null=True
            ),
        ),
        migrations.AddField(
            model_name="plan",
            name="overage_price",
            field=models.DecimalField(
                db_default=0,
                decimal_places=6,
                default=0,
                help_text="Per record over the quota",
                max_digits=10,
            ),
        ),
        migrations.AddField(
            model_name="plan",
            name="price",
            field=models.DecimalField(
                db_default=0,
                decimal_places=2,
                default=0,
                help_text="Per month, as the pages say it",
                max_digits=10,
            ),
        ),
        migrations.AddField(
            model_name="plan",
            name="requests_per_second",
            field=models.PositiveIntegerField(
                db_default=100, default=100, help_text="API requests in any second, per key"
            ),
        ),
        migrations.AddField(
            model_name="plan",
            name="seats",
            field=models.PositiveIntegerField(
                blank=True, help_text="Members and open invitations together. Empty: no limit.", null=True
            ),
        ),
        migrations.AddField(
            model_name="plan",
            name="stripe_overage_price_id",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                help_text="Stripe's metered price of a record",
                max_length=120,
            ),
        ),
        migrations.AddField(
            model_name="plan",
            name="stripe_price_id",
            field=models.CharField(
                blank=True, db_default="", default="", help_text="Stripe's price of the plan", max_length=120
            ),
        ),
        migrations.AlterField(
            model_name="plan",
            name="monthly_records",
            field=models.PositiveIntegerField(help_text="Records included per calendar month (UTC)"),
        ),
        migrations.AlterField(
            model_name="plan",
            name="requests_per_minute",
            field=models.PositiveIntegerField(help_text="API requests in any minute, per tenant"),
        ),
        migrations.CreateModel(
            name="PlanOverride",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=tenants.ids.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("requests_per_second", models.PositiveIntegerField(blank=True, null=True)),
                ("requests_per_minute", models.PositiveIntegerField(blank=True, null=True)),
                ("monthly_records", models.PositiveIntegerField(blank=True, null=True)),
                ("overage_allowed", models.BooleanField(blank=True, null=True)),
                ("lanes", models.PositiveIntegerField(blank=True, null=True)),
                ("seats", models.PositiveIntegerField(blank=True, null=True)),
                ("reason", models.CharField(max_length=200)),
                (
                    "expires_at",
                    models.DateTimeField(help_text="The plan's own limits count again from then on."),
                ),
                ("created_by", models.CharField(max_length=300)),
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
                    models.UniqueConstraint(fields=("tenant",), name="planoverride_one_per_tenant")
                ],
            },
        ),
        migrations.RunPython(fill, unfill),
    ]
