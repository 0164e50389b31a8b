"""Runs, records and events point at a row of their tenant: a key of their own to the tenant locked its row each time."""

from django.db import migrations, models

TENANT = {
    "to": "tenants.tenant",
    "on_delete": models.CASCADE,
    "related_name": "+",
    "db_index": False,
    "db_constraint": False,
    "editable": False,
}


class Migration(migrations.Migration):
    dependencies = [("workflows", "0018_fewer_indexes_of_runs")]

    operations = [
        migrations.AlterField(model_name=model, name="tenant", field=models.ForeignKey(**TENANT))
        for model in ("record", "run", "runevent")
    ]
