"""The totals of tenants that are gone."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0002_first_plans"),
        ("tenants", "0007_leaving"),
    ]

    operations = [
        migrations.CreateModel(
            name="ClosedLedger",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("period", models.DateField(help_text="first day of the calendar month (UTC)")),
                (
                    "kind",
                    models.CharField(choices=[("record", "Record"), ("attempt", "Attempt")], max_length=16),
                ),
                ("provider", models.CharField(blank=True, max_length=32)),
                ("livemode", models.BooleanField()),
                ("entries", models.BigIntegerField()),
                ("quantity", models.BigIntegerField()),
                ("credits", models.BigIntegerField(help_text="the vendors' credits, in thousandths")),
                (
                    "closed_tenant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="tenants.closedtenant",
                    ),
                ),
            ],
            options={
                "ordering": ("-period", "kind", "provider"),
                "constraints": [
                    models.UniqueConstraint(
                        fields=("closed_tenant", "period", "kind", "provider", "livemode"),
                        name="closedledger_once",
                    )
                ],
            },
        ),
    ]
