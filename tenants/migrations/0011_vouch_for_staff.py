"""Superusers made before now whose address nobody put on record: an operator vouched for it.

Signing in did this for whoever had no address on record; it asks for a code now. Nobody signs up as a superuser.
"""

from typing import Any

from django.db import migrations


def vouch(apps: Any, schema_editor: Any) -> None:
    address = apps.get_model("account", "EmailAddress")
    missing = apps.get_model("tenants", "User").objects.filter(is_superuser=True, emailaddress=None)
    address.objects.bulk_create(
        [address(user_id=user.pk, email=user.email, verified=True, primary=True) for user in missing],
        ignore_conflicts=True,  # the address of a superuser may be on record as somebody else's
    )


class Migration(migrations.Migration):
    dependencies = [
        ("tenants", "0010_longer_actors"),
        ("account", "0009_emailaddress_unique_primary_email"),
    ]

    operations = [migrations.RunPython(vouch, migrations.RunPython.noop)]
