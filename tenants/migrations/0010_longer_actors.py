"""Room for an address of 254 characters after "user:". Widening a varchar rewrites nothing; old code writes less."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("tenants", "0009_invitation_mailed_at")]

    operations = [
        migrations.AlterField(
            model_name="auditevent",
            name="actor",
            field=models.CharField(
                help_text="user:<e-mail>, staff:<e-mail>, key:<hint> or system:<name>", max_length=300
            ),
        ),
        migrations.AlterField(
            model_name="tenantexport",
            name="created_by",
            field=models.CharField(max_length=300),
        ),
        migrations.AlterField(
            model_name="closedtenant",
            name="closed_by",
            field=models.CharField(help_text="owner, or staff:<e-mail>", max_length=300),
        ),
    ]
