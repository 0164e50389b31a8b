"""A batch of usage is told in a minute of the subscription that bills it: not before that began."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0007_usageevent_without_second_key"),
    ]

    operations = [
        migrations.AddField(
            model_name="subscription",
            name="began_at",
            field=models.DateTimeField(help_text="when the subscription began", null=True),
        ),
    ]
