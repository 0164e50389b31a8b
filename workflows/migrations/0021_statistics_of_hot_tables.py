"""What PostgreSQL samples of the tables that grow with every run: less, and nothing of what no query asks for.

By default it reads 30,000 rows of a table at each ANALYZE and sorts every column's values. Of `run` with its counters and
JSON that took 0.35 s of a core, every 15 s while many runs come in, and requests waited for it; so it takes 0.03 s.
"""

from importlib import import_module

from django.db import migrations

EARLIER = import_module("workflows.migrations.0014_partitions_past_strays").MAKE
TARGET = 30
UNASKED = {
    "run": "config lanes mapping callback_url metadata created_by error total filled running found not_found done failed"
    " skipped cancelled credits_estimated credits_reserved credits_spent",
    "record": "input output error original credits",
    "step_queue": "query context attempt crashes reserved job",
    "step": "answer reason http_status latency_ms credits attempt",
    "lookup": "answer",
    "lane_run": "",
    "run_event": "detail actor",
    "billing_usageevent": "quantity credits",
    "tenants_auditevent": "detail request_id ip",
}
"""By table, the columns that no query compares, joins or sorts by. Each of the others gets TARGET."""

# One ALTER TABLE for each table, which goes on to its partitions; nobody who reads or writes waits for it.
_SET = """
    DO $$ BEGIN EXECUTE (
        SELECT 'ALTER TABLE public.{table} ' || string_agg(format('ALTER COLUMN %I SET STATISTICS %s', attname,
            {target}), ', ')
        FROM pg_attribute WHERE attrelid = 'public.{table}'::regclass AND attnum > 0 AND NOT attisdropped);
    END $$"""
_MADE = """            made := made || name;
"""
_NEW_PARTITION = """            EXECUTE (SELECT format('ALTER TABLE public.%I ', name)
                || string_agg(format('ALTER COLUMN %I SET STATISTICS %s', attname, attstattarget), ', ')
                FROM pg_attribute WHERE attrelid = 'public.step'::regclass AND attstattarget >= 0);
"""


def _sampled(table: str, unasked: str) -> str:
    columns = ", ".join(f"'{column}'" for column in unasked.split()) or "''"
    return _SET.format(table=table, target=f"CASE WHEN attname IN ({columns}) THEN 0 ELSE {TARGET} END")


def _as_before(table: str) -> str:
    return _SET.format(table=table, target="-1")


class Migration(migrations.Migration):
    dependencies = [
        ("workflows", "0020_purge_addresses_in_doubt"),
        ("billing", "0012_subscription_agreed"),
        ("tenants", "0016_audit_by_actor_and_verb"),
    ]

    operations = [
        *(
            migrations.RunSQL(_sampled(table, unasked), _as_before(table))
            for table, unasked in UNASKED.items()
        ),
        # Who may call it stays as it was.
        migrations.RunSQL(EARLIER.replace(_MADE, _NEW_PARTITION + _MADE), EARLIER),
    ]
