"""Mails about quotas are tried again as those about payments are; of events from which nothing follows, ids are kept."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0009_subscription_buying_until"),
    ]

    operations = [
        migrations.AlterField(
            model_name="billingnotice",
            name="kind",
            field=models.CharField(
                choices=[
                    ("payment_failed", "Payment Failed"),
                    ("trial_ending", "Trial Ending"),
                    ("plan_changed", "Plan Changed"),
                    ("disputed", "Disputed"),
                    ("quota_warning", "Quota Warning"),
                ],
                max_length=16,
            ),
        ),
        migrations.AlterField(
            model_name="stripeevent",
            name="body",
            field=models.TextField(help_text="as it was posted; ids alone where nothing follows from it"),
        ),
    ]
