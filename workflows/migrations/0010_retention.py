"""Deleting what is past its tenant's retention, and the step history's partitions.

Rows of append-only tables cannot be deleted by any login of ours. The ops login asks for it here, and the functions look
for themselves whether the time has come.
"""

from django.db import migrations, models

FUNCTIONS = """
CREATE FUNCTION public.weir_purge_run(wanted uuid, target uuid, most integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp SET lock_timeout = '2s' AS $$
DECLARE ids uuid[];
BEGIN
    PERFORM 1 FROM public.run r JOIN public.tenants_tenant t ON t.id = r.tenant_id
    WHERE r.id = target AND r.tenant_id = wanted
      AND r.finished_at < clock_timestamp() - t.retention_days * interval '1 day' FOR NO KEY UPDATE OF r;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'This run is not past its retention.' USING ERRCODE = 'insufficient_privilege';
    END IF;
    SELECT array_agg(x.id) INTO ids FROM (
        SELECT r.id FROM public.record r WHERE r.tenant_id = wanted AND r.run_id = target
        ORDER BY r.position LIMIT most) x;
    IF ids IS NULL THEN
        DELETE FROM public.run_event e WHERE e.tenant_id = wanted AND e.run_id = target AND e.record_id IS NOT NULL;
        UPDATE public.run SET purged_at = clock_timestamp() WHERE id = target AND tenant_id = wanted;
        RETURN 0;
    END IF;
    DELETE FROM public.step s WHERE s.tenant_id = wanted AND s.record_id = ANY(ids);
    DELETE FROM public.record r WHERE r.tenant_id = wanted AND r.id = ANY(ids);
    RETURN cardinality(ids);
END $$;

CREATE FUNCTION public.weir_make_step_partitions(ahead integer) RETURNS text[]
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp SET lock_timeout = '1s' AS $$
DECLARE
    made text[] := '{}';
    first timestamp;
    name text;
BEGIN
    FOR number IN 0..ahead - 1 LOOP
        first := date_trunc('month', clock_timestamp() AT TIME ZONE 'utc') + number * interval '1 month';
        name := 'step_' || to_char(first, 'YYYY_MM');
        CONTINUE WHEN to_regclass('public.' || name) IS NOT NULL;
        EXECUTE format('CREATE TABLE public.%I PARTITION OF public.step FOR VALUES FROM (%L) TO (%L)', name,
            (lpad(to_hex(extract(epoch FROM first)::bigint * 1000), 12, '0') || repeat('0', 20))::uuid,
            (lpad(to_hex(extract(epoch FROM first + interval '1 month')::bigint * 1000), 12, '0')
                || repeat('0', 20))::uuid);
        EXECUTE format('REVOKE ALL ON public.%I FROM PUBLIC, weir_app, weir_ops, weir_readonly, weir_backup, weir_lookup',
            name);
        EXECUTE format('ALTER TABLE public.%I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE public.%I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY weir_owner_all ON public.%I TO weir_owner USING (true) WITH CHECK (true)', name);
        EXECUTE format('CREATE POLICY weir_backup_read ON public.%I FOR SELECT TO weir_backup USING (true)', name);
        EXECUTE format('GRANT SELECT ON public.%I TO weir_backup', name);
        made := made || name;
    END LOOP;
    RETURN made;
END $$;

CREATE FUNCTION public.weir_drop_step_partitions() RETURNS text[]
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp SET lock_timeout = '1s' AS $$
DECLARE
    gone text[] := '{}';
    name text;
    over timestamptz;
BEGIN
    FOR name IN SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
                WHERE i.inhparent = 'public.step'::regclass AND c.relname ~ '^step_[0-9]{4}_[0-9]{2}$'
                ORDER BY c.relname LOOP
        over := (to_timestamp(right(name, 7), 'YYYY_MM')::timestamp + interval '1 month') AT TIME ZONE 'utc';
        CONTINUE WHEN over > clock_timestamp();
        CONTINUE WHEN EXISTS (
            SELECT 1 FROM public.run r JOIN public.tenants_tenant t ON t.id = r.tenant_id
            WHERE r.created_at < over AND r.purged_at IS NULL
              AND (r.finished_at IS NULL
                   OR r.finished_at >= clock_timestamp() - t.retention_days * interval '1 day'));
        EXECUTE format('DROP TABLE public.%I', name);
        gone := gone || name;
    END LOOP;
    RETURN gone;
END $$;
"""
SIGNATURES = (
    "public.weir_purge_run(uuid, uuid, integer)",
    "public.weir_make_step_partitions(integer)",
    "public.weir_drop_step_partitions()",
)
RIGHTS = "".join(
    f"REVOKE ALL ON FUNCTION {name} FROM PUBLIC; GRANT EXECUTE ON FUNCTION {name} TO weir_ops;"
    for name in SIGNATURES
)


class Migration(migrations.Migration):
    dependencies = [("workflows", "0009_jobs")]

    operations = [
        migrations.AddField(
            model_name="run",
            name="purged_at",
            field=models.DateTimeField(
                blank=True, help_text="when its records were deleted, after the tenant's retention", null=True
            ),
        ),
        migrations.AddField(
            model_name="upload",
            name="purged_at",
            field=models.DateTimeField(
                help_text="when the file was deleted, after the tenant's retention", null=True
            ),
        ),
        migrations.RunSQL(FUNCTIONS + RIGHTS, "".join(f"DROP FUNCTION {name};" for name in SIGNATURES)),
    ]
