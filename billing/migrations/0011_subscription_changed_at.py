"""Whoever changed the plan within a month chooses a cheaper one in the next: Stripe counts included records anew."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0010_kept_events_and_quota_mails"),
    ]

    operations = [
        migrations.AddField(
            model_name="subscription",
            name="changed_at",
            field=models.DateTimeField(help_text="when somebody chose another plan last", null=True),
        ),
    ]
