"""A row of a month that has no partition yet stops nothing: it moves into the partition that is made."""

from importlib import import_module

from django.db import migrations

EARLIER = import_module("workflows.migrations.0010_retention").FUNCTIONS.split("CREATE FUNCTION ")[2]

MAKE = """
CREATE OR REPLACE FUNCTION public.weir_make_step_partitions(ahead integer) RETURNS text[]
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp SET lock_timeout = '1s' AS $$
DECLARE
    made text[] := '{}';
    first timestamp;
    name text;
    low uuid;
    high uuid;
BEGIN
    FOR number IN 0..ahead - 1 LOOP
        first := date_trunc('month', clock_timestamp() AT TIME ZONE 'utc') + number * interval '1 month';
        name := 'step_' || to_char(first, 'YYYY_MM');
        CONTINUE WHEN to_regclass('public.' || name) IS NOT NULL;
        low := (lpad(to_hex(extract(epoch FROM first)::bigint * 1000), 12, '0') || repeat('0', 20))::uuid;
        high := (lpad(to_hex(extract(epoch FROM first + interval '1 month')::bigint * 1000), 12, '0')
            || repeat('0', 20))::uuid;
        -- What one month cannot have (a lock, its time) is no reason to leave the others out.
        BEGIN
            LOCK TABLE ONLY public.step IN ACCESS EXCLUSIVE MODE;
            LOCK TABLE public.step_default IN ACCESS EXCLUSIVE MODE;
            IF (SELECT count(*) FROM (SELECT 1 FROM public.step_default d WHERE d.id >= low AND d.id < high
                                      LIMIT 10001) x) > 10000 THEN
                RAISE WARNING '% has too many rows in step_default to be made while others wait.', name;
                CONTINUE;
            END IF;
            EXECUTE format('CREATE TABLE public.%I (LIKE public.step INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', name);
            EXECUTE format('WITH gone AS (DELETE FROM public.step_default d WHERE d.id >= $1 AND d.id < $2 RETURNING d.*)
                INSERT INTO public.%I SELECT * FROM gone', name) USING low, high;
            EXECUTE format('REVOKE ALL ON public.%I FROM PUBLIC, weir_app, weir_ops, weir_readonly, weir_backup, weir_lookup',
                name);
            EXECUTE format('ALTER TABLE public.%I ENABLE ROW LEVEL SECURITY', name);
            EXECUTE format('ALTER TABLE public.%I FORCE ROW LEVEL SECURITY', name);
            EXECUTE format('CREATE POLICY weir_owner_all ON public.%I TO weir_owner USING (true) WITH CHECK (true)', name);
            EXECUTE format('CREATE POLICY weir_backup_read ON public.%I FOR SELECT TO weir_backup USING (true)', name);
            EXECUTE format('GRANT SELECT ON public.%I TO weir_backup', name);
            EXECUTE format('ALTER TABLE public.step ATTACH PARTITION public.%I FOR VALUES FROM (%L) TO (%L)', name, low,
                high);
            made := made || name;
        EXCEPTION WHEN lock_not_available OR check_violation OR invalid_object_definition THEN
            RAISE WARNING '% was not made: %', name, SQLERRM;
        END;
    END LOOP;
    RETURN made;
END $$;
"""
# A database that ran 0010 before it said so looks names up in its own order.
PATHS = "".join(
    f"ALTER FUNCTION {name} SET search_path = pg_catalog, public, pg_temp;"
    for name in ("public.weir_purge_run(uuid, uuid, integer)", "public.weir_drop_step_partitions()")
)


class Migration(migrations.Migration):
    dependencies = [("workflows", "0013_credit_month_and_ambiguous_calls")]

    operations = [
        # Who may call it stays as it was.
        migrations.RunSQL(MAKE, "CREATE OR REPLACE FUNCTION " + EARLIER),
        migrations.RunSQL(PATHS, migrations.RunSQL.noop),
    ]
