"""No table points at an entry of the ledger: its (tenant, id) key was written for nobody."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("billing", "0006_usage_counters")]

    operations = [migrations.RemoveConstraint(model_name="usageevent", name="usageevent_tenant_id_key")]
