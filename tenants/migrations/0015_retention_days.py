"""Records are kept for a day at least and ten years at most, whoever writes the number."""

from django.db import migrations, models

BOUNDS = """
UPDATE tenants_tenant SET retention_days = least(greatest(retention_days, 1), 3650)
WHERE retention_days NOT BETWEEN 1 AND 3650
"""


class Migration(migrations.Migration):
    dependencies = [("tenants", "0014_tenant_suppress_subdomains")]

    operations = [
        migrations.RunSQL(BOUNDS, migrations.RunSQL.noop),
        migrations.AddConstraint(
            model_name="tenant",
            constraint=models.CheckConstraint(
                condition=models.Q(("retention_days__gte", 1), ("retention_days__lt", 3651)),
                name="tenant_retention_days",
                violation_error_message="Records are kept for 1 to 3,650 days.",
            ),
        ),
    ]
