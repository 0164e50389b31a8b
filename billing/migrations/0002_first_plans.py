"""The three plans that every installation starts with; operators edit them in the ops console."""

from django.db import migrations

PLANS = [
    {"slug": "free", "name": "Free", "requests_per_minute": 100, "monthly_records": 1_000, "position": 1},
    {"slug": "pro", "name": "Pro", "requests_per_minute": 3_000, "monthly_records": 100_000, "position": 2,
     "overage_allowed": True},
    {"slug": "enterprise", "name": "Enterprise", "requests_per_minute": 60_000, "monthly_records": 5_000_000,
     "position": 3, "overage_allowed": True},
]  # fmt: skip


def add(apps, schema_editor):
    plan = apps.get_model("billing", "Plan")
    plan.objects.using(schema_editor.connection.alias).bulk_create([plan(**row) for row in PLANS])


def remove(apps, schema_editor):
    plan = apps.get_model("billing", "Plan")
    plan.objects.using(schema_editor.connection.alias).filter(
        slug__in=[row["slug"] for row in PLANS]
    ).delete()


class Migration(migrations.Migration):
    dependencies = [("billing", "0001_initial")]

    operations = [migrations.RunPython(add, remove)]
