from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("integrations", "0004_outbound_webhooks"),
    ]

    operations = [
        migrations.AddField(
            model_name="connection",
            name="removed_at",
            field=models.DateTimeField(
                blank=True,
                help_text="when its owner removed it; its key is gone, what it was asked stays",
                null=True,
            ),
        ),
    ]
