"""What a run's history says is not deleted with the run: whoever deletes a run deletes its events first, and no login of
ours can. The new key is checked while others are at work, and the old one goes last.
"""

import django.db.models.deletion
from django.db import migrations, models

import tenants.base

ADD = """
ALTER TABLE public.run_event DROP CONSTRAINT IF EXISTS run_event_keeps_run;
ALTER TABLE public.run_event ADD CONSTRAINT run_event_keeps_run FOREIGN KEY (tenant_id, run_id)
    REFERENCES public.run (tenant_id, id) ON DELETE RESTRICT DEFERRABLE INITIALLY IMMEDIATE NOT VALID
"""
VALIDATE = "ALTER TABLE public.run_event VALIDATE CONSTRAINT run_event_keeps_run"
DROP_OLD = "ALTER TABLE public.run_event DROP CONSTRAINT IF EXISTS run_event_run_fk"
ADD_OLD = """
ALTER TABLE public.run_event DROP CONSTRAINT IF EXISTS run_event_run_fk;
ALTER TABLE public.run_event ADD CONSTRAINT run_event_run_fk FOREIGN KEY (tenant_id, run_id)
    REFERENCES public.run (tenant_id, id) ON DELETE CASCADE DEFERRABLE INITIALLY IMMEDIATE NOT VALID
"""
VALIDATE_OLD = "ALTER TABLE public.run_event VALIDATE CONSTRAINT run_event_run_fk"
DROP = "ALTER TABLE public.run_event DROP CONSTRAINT IF EXISTS run_event_keeps_run"


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("workflows", "0014_partitions_past_strays")]

    operations = [
        migrations.RunSQL(ADD, DROP),
        migrations.RunSQL(VALIDATE, VALIDATE_OLD),
        migrations.RunSQL(
            DROP_OLD,
            ADD_OLD,
            state_operations=[
                migrations.AlterField(
                    model_name="runevent",
                    name="run",
                    field=models.ForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="events",
                        to="workflows.run",
                    ),
                ),
                migrations.RemoveConstraint(model_name="runevent", name="run_event_run_fk"),
                migrations.AddConstraint(
                    model_name="runevent",
                    constraint=tenants.base.SameTenant(
                        field="run", name="run_event_keeps_run", on_delete="RESTRICT", to="workflows.Run"
                    ),
                ),
            ],
        ),
    ]
