"""The app login makes nobody staff and gives staff no rights: the ops login does, from the console or by a command.

Triggers and not column grants: Django writes whole rows, and what was there already may be written again.
"""

from django.db import migrations

CLOSE = """
CREATE FUNCTION public.weir_staff_by_ops() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'The app login may not make staff.' USING ERRCODE = 'insufficient_privilege';
END $$;
REVOKE ALL ON FUNCTION public.weir_staff_by_ops() FROM PUBLIC;
CREATE TRIGGER weir_staff_made BEFORE INSERT ON public.tenants_user FOR EACH ROW
    WHEN (current_user = 'weir_app' AND (NEW.is_staff OR NEW.is_superuser))
    EXECUTE FUNCTION public.weir_staff_by_ops();
CREATE TRIGGER weir_staff_changed BEFORE UPDATE ON public.tenants_user FOR EACH ROW
    WHEN (current_user = 'weir_app' AND (
        (NEW.is_staff AND NOT OLD.is_staff) OR (NEW.is_superuser AND NOT OLD.is_superuser)
        OR (NEW.is_active AND NOT OLD.is_active)
        OR ((NEW.is_staff OR NEW.is_superuser) AND NEW.id IS DISTINCT FROM OLD.id)))
    EXECUTE FUNCTION public.weir_staff_by_ops();
CREATE TRIGGER weir_staff_groups BEFORE INSERT OR UPDATE ON public.tenants_user_groups FOR EACH ROW
    WHEN (current_user = 'weir_app') EXECUTE FUNCTION public.weir_staff_by_ops();
CREATE TRIGGER weir_staff_rights BEFORE INSERT OR UPDATE ON public.tenants_user_user_permissions FOR EACH ROW
    WHEN (current_user = 'weir_app') EXECUTE FUNCTION public.weir_staff_by_ops();
"""
OPEN = """
DROP TRIGGER weir_staff_rights ON public.tenants_user_user_permissions;
DROP TRIGGER weir_staff_groups ON public.tenants_user_groups;
DROP TRIGGER weir_staff_changed ON public.tenants_user;
DROP TRIGGER weir_staff_made ON public.tenants_user;
DROP FUNCTION public.weir_staff_by_ops();
"""


class Migration(migrations.Migration):
    dependencies = [
        ("tenants", "0012_closing_is_final"),
    ]

    operations = [migrations.RunSQL(CLOSE, OPEN)]
