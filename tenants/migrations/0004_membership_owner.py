from django.db import migrations, models

# Tenants made before ownership existed: their first administrator is the owner.
FIRST_ADMINISTRATORS = """
    UPDATE tenants_membership m SET is_owner = true
    FROM (SELECT DISTINCT ON (tenant_id) id FROM tenants_membership WHERE role = 'admin'
          ORDER BY tenant_id, created_at, id) first
    WHERE m.id = first.id
"""


class Migration(migrations.Migration):
    dependencies = [("tenants", "0003_key_replaces")]

    operations = [
        migrations.AlterField(
            model_name="auditevent",
            name="actor",
            field=models.CharField(
                help_text="user:<e-mail>, staff:<e-mail>, key:<hint> or system:<name>", max_length=200
            ),
        ),
        migrations.AddField(
            model_name="membership",
            name="is_owner",
            field=models.BooleanField(
                db_default=False, default=False, help_text="The one administrator who answers for the tenant."
            ),
        ),
        migrations.RunSQL(FIRST_ADMINISTRATORS, migrations.RunSQL.noop),
        migrations.AddConstraint(
            model_name="membership",
            constraint=models.UniqueConstraint(
                condition=models.Q(("is_owner", True)), fields=("tenant",), name="membership_one_owner"
            ),
        ),
        migrations.AddConstraint(
            model_name="membership",
            constraint=models.CheckConstraint(
                condition=models.Q(("is_owner", False), ("role", "admin"), _connector="OR"),
                name="membership_owner_is_admin",
            ),
        ),
    ]
