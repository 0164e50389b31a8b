"""One purchase of a tenant at a time: two could open two pages, and both be paid."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0008_subscription_began_at"),
    ]

    operations = [
        migrations.AddField(
            model_name="subscription",
            name="buying_until",
            field=models.DateTimeField(help_text="until when a purchase is under way", null=True),
        ),
    ]
