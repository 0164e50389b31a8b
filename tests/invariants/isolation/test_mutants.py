"""The wall is broken in every way that there is, one at a time: the sweep and the acts must notice each of them.

All of it in transactions of the administrator that are undone, in this process's own clone of the database.
"""

import time
from collections.abc import Callable, Iterator

import psycopg
import pytest

from tenants.catalogue import relations
from tenants.classes import Isolated, table_classes
from tenants.roles import APP
from tenants.verdicts import report
from tests.invariants.isolation.acts import ACTS, Act
from tests.invariants.isolation.conftest import others_rows
from tests.invariants.isolation.logins import Pretended, administrator, undone
from tests.invariants.isolation.mutants import Mutant, of_other_table, of_tenants_table
from tests.invariants.isolation.seeds import Subject, World


@pytest.fixture(scope="module")
def admin(world: World) -> Iterator[psycopg.Connection]:
    with administrator() as connection:
        yield connection


def swept(admin: psycopg.Connection, table: str) -> list[str]:
    """What the sweep says of this table."""
    with admin.cursor() as cursor:
        return report(cursor, [table]).faults


def acted(admin: psycopg.Connection, subject: Subject, world: World, *acts: Act) -> list[str]:
    """What acts of somebody in another tenant's scope find, as the app login, in the administrator's transaction."""
    session, faults = Pretended(admin, APP), []
    for act in acts:
        with admin.transaction(force_rollback=True):
            before = others_rows(admin, subject)
            fault = act(session, subject, world)
            if fault or others_rows(admin, subject) != before:
                faults.append(f"{act.__name__}: {fault}")
    return faults


def mutants(admin: psycopg.Connection, world: World) -> list[Mutant]:
    with admin.cursor() as cursor:
        there = relations(cursor)
    found = [m for s in world.subjects.values() for m in of_tenants_table(s.entry, there[s.entry.table])]
    others = [entry for entry in table_classes() if not entry.walled]
    others += [Isolated(name, "partition") for name, relation in there.items() if relation.partition][:2]
    found += [m for entry in others for m in of_other_table(entry, there[entry.table])]
    # Keys that are not enforced came with PostgreSQL 18.
    return [m for m in found if admin.info.server_version >= 180_000 or "NOT ENFORCED" not in m.sql]


def test_nothing_is_noticed_while_the_wall_stands(admin: psycopg.Connection, world: World) -> None:
    for table, subject in world.subjects.items():
        with undone(admin):
            assert swept(admin, table) == []
            assert acted(admin, subject, world, *ACTS) == []


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_way_to_break_the_wall_is_noticed(
    admin: psycopg.Connection, world: World, record_property: Callable[[str, object], None]
) -> None:
    start, unnoticed, by_rows = time.monotonic(), [], 0
    every = mutants(admin, world)
    for mutant in every:
        with undone(admin):
            admin.execute(mutant.sql)
            if not swept(admin, mutant.table):
                unnoticed.append(f"the sweep misses {mutant.table}: {mutant.name}")
            if mutant.act:
                by_rows += 1
                if not acted(admin, world.subjects[mutant.table], world, mutant.act):
                    unnoticed.append(f"{mutant.act.__name__} misses {mutant.table}: {mutant.name}")
    seconds = time.monotonic() - start
    print(f"{len(every)} mutants, {by_rows} of them tried on rows too, in {seconds:.1f} s")
    record_property("mutants", len(every))
    assert unnoticed == []
    assert len(every) > 20 * len(world.subjects)
