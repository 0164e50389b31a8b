import django.db.models.deletion
from django.db import migrations, models

import tenants.base


class Migration(migrations.Migration):
    dependencies = [("tenants", "0002_invitation")]

    operations = [
        migrations.AddField(
            model_name="apikey",
            name="replaces",
            field=models.ForeignKey(
                blank=True,
                db_constraint=False,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to="tenants.apikey",
            ),
        ),
        migrations.AddConstraint(
            model_name="apikey",
            constraint=tenants.base.SameTenant(
                field="replaces", name="apikey_replaces_own", on_delete="SET NULL", to="tenants.ApiKey"
            ),
        ),
    ]
