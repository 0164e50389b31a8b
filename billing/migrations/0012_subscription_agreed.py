"""Records that are included beyond the price are not told to Stripe, by month."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0011_subscription_changed_at"),
    ]

    operations = [
        migrations.AddField(
            model_name="subscription",
            name="agreed",
            field=models.JSONField(
                db_default={}, default=dict, help_text="by month, records included beyond the price: not told"
            ),
        ),
        migrations.AddField(
            model_name="subscription",
            name="price_includes",
            field=models.BigIntegerField(help_text="records a month that the price includes", null=True),
        ),
    ]
