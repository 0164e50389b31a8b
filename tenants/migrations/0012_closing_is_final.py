"""A tenant that is being closed stays so, whoever asks; rows are erased where the closing has been written down."""

from importlib import import_module

from django.db import migrations

EARLIER = import_module("tenants.migrations.0007_leaving").ERASE.partition("REVOKE ALL")[0]

# Without it the ops login could close a tenant, erase single rows that no login may delete, and open it again.
FINAL = """
CREATE FUNCTION public.weir_closing_is_final() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'This tenant is being deleted; that cannot be undone.' USING ERRCODE = 'insufficient_privilege';
END $$;
REVOKE ALL ON FUNCTION public.weir_closing_is_final() FROM PUBLIC;
CREATE TRIGGER weir_closing_is_final BEFORE UPDATE ON public.tenants_tenant FOR EACH ROW
    WHEN (OLD.status = 'closing' AND (NEW.status IS DISTINCT FROM OLD.status OR NEW.id IS DISTINCT FROM OLD.id))
    EXECUTE FUNCTION public.weir_closing_is_final();
"""
OPEN = """
DROP TRIGGER weir_closing_is_final ON public.tenants_tenant;
DROP FUNCTION public.weir_closing_is_final();
"""

ERASE = """
CREATE OR REPLACE FUNCTION public.weir_erase_rows(wanted uuid, target regclass, ids uuid[]) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE gone bigint;
BEGIN
    IF NOT EXISTS (SELECT 1 FROM public.tenants_tenant t JOIN public.tenants_closedtenant c ON c.erasing = t.id
                   WHERE t.id = wanted AND t.status = 'closing') THEN
        RAISE EXCEPTION 'This tenant is not being closed.' USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF NOT EXISTS (SELECT 1 FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
                   WHERE c.oid = target AND c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
                     AND a.attname = 'tenant_id' AND NOT a.attisdropped) THEN
        RAISE EXCEPTION 'This is no table of tenants.' USING ERRCODE = 'insufficient_privilege';
    END IF;
    EXECUTE format('DELETE FROM %s WHERE tenant_id = $1 AND id = ANY($2)', target) USING wanted, ids;
    GET DIAGNOSTICS gone = ROW_COUNT;
    RETURN gone;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("tenants", "0011_vouch_for_staff"),
    ]

    operations = [
        migrations.RunSQL(FINAL, OPEN),
        # Who may call it stays as it was.
        migrations.RunSQL(ERASE, EARLIER.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION")),
    ]
