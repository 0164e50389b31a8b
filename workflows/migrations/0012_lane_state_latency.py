"""How long a lane's vendor takes of late: what a run's end is foreseen from."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("workflows", "0011_run_to_purge"),
    ]

    operations = [
        migrations.AddField(
            model_name="lanestate",
            name="latency_s",
            field=models.FloatField(help_text="seconds that the vendor takes of late", null=True),
        ),
    ]
