"""With a run's records the addresses go that calls in doubt name: what they may have cost stays."""

import importlib

from django.db import migrations

BEFORE = importlib.import_module("workflows.migrations.0010_retention").FUNCTIONS
BEFORE = BEFORE[: BEFORE.index("CREATE FUNCTION public.weir_make_step_partitions")].replace(
    "CREATE FUNCTION", "CREATE OR REPLACE FUNCTION"
)
NOW = BEFORE.replace(
    "    DELETE FROM public.record r WHERE",
    """    UPDATE public.ambiguous_call a SET email = ''
    WHERE a.tenant_id = wanted AND a.record_id = ANY(ids) AND a.email <> '';
    DELETE FROM public.record r WHERE""",
)
assert NOW != BEFORE

PURGED = """
UPDATE public.ambiguous_call a SET email = '' FROM public.run r
WHERE a.email <> '' AND r.tenant_id = a.tenant_id AND r.id = a.run_id AND r.purged_at IS NOT NULL
"""


class Migration(migrations.Migration):
    dependencies = [("workflows", "0019_tenants_vouched_for")]

    operations = [
        migrations.RunSQL(NOW, BEFORE),
        migrations.RunSQL(PURGED, migrations.RunSQL.noop),
    ]
