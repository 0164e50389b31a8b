"""ANALYZE of the tables that every run adds to is cheap: it shares the machine with requests and runners."""

import os
from importlib import import_module

import psycopg
import pytest

WANTED = import_module("workflows.migrations.0021_statistics_of_hot_tables")
HOT = {"run", "record", "step_queue", "step", "lookup", "lane_run", "run_event", "billing_usageevent",
       "tenants_auditevent"}  # fmt: skip


def targets(connection: psycopg.Connection, table: str) -> dict[str, int | None]:
    """By column, how many values ANALYZE may keep; None is PostgreSQL's default."""
    rows = connection.execute(
        "SELECT attname, nullif(attstattarget, -1) FROM pg_attribute "
        "WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped",
        (table,),
    )
    return dict(rows.fetchall())


@pytest.mark.parametrize("table", sorted(HOT))
def test_every_column_says_whether_it_is_asked_for(committed: None, table: str) -> None:
    """One column with the default would have 30,000 rows read, and all the others sorted with it."""
    with psycopg.connect(os.environ["DATABASE_OWNER_URL"], autocommit=True) as owner:
        found = targets(owner, table)
        unasked = set(WANTED.UNASKED[table].split())
        assert unasked < set(found)
        assert {name: target for name, target in found.items() if name not in unasked} == dict.fromkeys(
            set(found) - unasked, WANTED.TARGET
        )
        assert {found[name] for name in unasked} <= {0}


def test_a_partition_is_sampled_as_its_table_is(committed: None) -> None:
    with psycopg.connect(os.environ["DATABASE_OWNER_URL"], autocommit=True) as owner:
        wanted = targets(owner, "step")
        parts = [
            row[0]
            for row in owner.execute(
                "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'step'::regclass"
            )
        ]
        assert len(parts) == 13
        assert {part: targets(owner, part) for part in parts} == dict.fromkeys(parts, wanted)
        with owner.transaction(force_rollback=True):
            owner.execute(f"DROP TABLE {max(set(parts) - {'step_default'})}")
            row = owner.execute("SELECT weir_make_step_partitions(12)").fetchone()
            assert row is not None
            assert [targets(owner, made) for made in row[0]] == [wanted]
