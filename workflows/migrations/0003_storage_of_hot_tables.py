"""Room for in-place updates, and eager vacuuming, on the tables that change all the time."""

from django.db import migrations

EAGER = "autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 1"
TABLES = {
    "step_queue": 80,
    "lane_state": 50,
    "lane_run": 70,
    "run": 60,
    "run_vendor": 60,
    "record": 80,
    "lookup": 80,
}


def _set(table: str, fillfactor: int) -> str:
    return f"ALTER TABLE {table} SET (fillfactor = {fillfactor}, {EAGER})"


def _reset(table: str) -> str:
    names = ", ".join(part.split("=")[0].strip() for part in EAGER.split(","))
    return f"ALTER TABLE {table} RESET (fillfactor, {names})"


class Migration(migrations.Migration):
    dependencies = [("workflows", "0002_partition_step")]

    operations = [migrations.RunSQL(_set(table, factor), _reset(table)) for table, factor in TABLES.items()]
