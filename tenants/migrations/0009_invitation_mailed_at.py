"""Whether the mail server took an invitation; old code does not look at it."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("tenants", "0008_audit_newest_first")]

    operations = [
        migrations.AddField(
            model_name="invitation",
            name="mailed_at",
            field=models.DateTimeField(blank=True, help_text="When the mail server took it.", null=True),
        ),
    ]
