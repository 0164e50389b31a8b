from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("workflows", "0006_longer_actors"),
    ]

    operations = [
        migrations.AddField(
            model_name="lanestate",
            name="breaker_until",
            field=models.DateTimeField(null=True),
        ),
        # Code from before these columns writes rows without them.
        migrations.AddField(
            model_name="lanestate",
            name="trips",
            field=models.PositiveIntegerField(
                db_default=0, default=0, help_text="rests in a row; 0 while the breaker is closed"
            ),
        ),
        migrations.AddField(
            model_name="lanestate",
            name="balance_asked_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="stepqueue",
            name="tried_at",
            field=models.DateTimeField(help_text="when its first call was sent", null=True),
        ),
    ]
