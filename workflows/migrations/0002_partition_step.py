"""Make the step history a table that is range-partitioned by its time-ordered id."""

from django.db import migrations

FORWARD = """
ALTER TABLE step RENAME TO step_plain;
CREATE TABLE step (LIKE step_plain INCLUDING DEFAULTS INCLUDING CONSTRAINTS) PARTITION BY RANGE (id);
DROP TABLE step_plain;
ALTER TABLE step ADD PRIMARY KEY (id);
CREATE INDEX step_of_record ON step (tenant_id, record_id, id);
CREATE TABLE step_default PARTITION OF step DEFAULT;
ALTER TABLE step_default ENABLE ROW LEVEL SECURITY;
ALTER TABLE step_default FORCE ROW LEVEL SECURITY;
"""

BACKWARD = """
ALTER TABLE step RENAME TO step_partitioned;
CREATE TABLE step (LIKE step_partitioned INCLUDING DEFAULTS INCLUDING CONSTRAINTS);
INSERT INTO step SELECT * FROM step_partitioned;
DROP TABLE step_partitioned;
ALTER TABLE step ADD PRIMARY KEY (id);
CREATE INDEX step_of_record ON step (tenant_id, record_id, id);
"""


class Migration(migrations.Migration):
    dependencies = [("workflows", "0001_initial")]

    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
