"""A release on tables that are full: no migration of the last releases keeps anybody waiting for longer than two seconds.

The database goes back to where it was before them, is filled, and goes on again, while every lock of the migrating session
that stands in the way of a reader or writer is timed.
"""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, Any

import psycopg
import pytest
from psycopg import sql

from tenants.roles import OWNER
from tests import databases
from tests.chaos.campaign import show
from tests.conftest import CLAIMS
from tests.environment import LOGIN_URLS, with_database
from tests.sandbox import ROOT

LONGEST_S = 2.0
ON_A_BUSY_MACHINE_S = 10.0  # what grows with the rows shows on a million of them
LOOK_EVERY_S = 0.01
BEFORE = {"workflows": "0009", "integrations": "0002", "billing": "0003", "tenants": "0011"}
"""Where the releases that are tried begin. Only ever moved on, when what comes after has been in production."""
NEWEST = {"workflows": "0015"}
BIG = ("record", "step", "billing_usageevent", "tenants_auditevent")
SHARE_OF_OTHERS = 50
VALUES = {
    "integer": "g",
    "bigint": "g",
    "smallint": "g %% 9",
    "boolean": "false",
    "timestamp with time zone": "now() - g * interval '1 second'",
    "date": "current_date",
    "jsonb": "'{}'::jsonb",
    "ARRAY": "'{}'",
}
IN_THE_WAY = ("AccessExclusiveLock", "ExclusiveLock", "ShareRowExclusiveLock", "ShareLock")

_MIGRATES = """
import sys
from config.boot import prepare
prepare("migrate")
import django
django.setup()
from django.core.management import call_command
for line in sys.stdin:
    call_command("migrate", *line.split(), interactive=False, skip_checks=True, verbosity=0)
    print("done", flush=True)
"""


class Migrator:
    """A process that migrates one database as `release` of the Procfile does, step by step as it is told."""

    def __init__(self, database: str) -> None:
        urls = {name: with_database(os.environ[name], database) for name in LOGIN_URLS.values()}
        self._process = subprocess.Popen(
            [sys.executable, "-c", _MIGRATES], cwd=ROOT, text=True, bufsize=1, env=os.environ | urls,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def to(self, *where: str) -> None:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(" ".join(where) + "\n")
        said: list[str] = []
        while (line := stdout.readline()) != "done\n":
            assert line, f"migrating to {where or 'the newest'} failed: {''.join(said[-20:])}"
            said.append(line)

    def end(self) -> None:
        ends: tuple[IO[str] | None, ...] = (self._process.stdin, self._process.stdout)
        for end in ends:
            if end is not None:
                end.close()
        self._process.wait(timeout=30)


@dataclass
class Locks:
    """How long each lock was held that stands in the way: (table, mode) -> seconds, the longest time each."""

    database: str
    held: dict[tuple[str, str], float] = field(default_factory=dict)

    @contextmanager
    def watched(self) -> Iterator[None]:
        over = threading.Event()
        watching = threading.Thread(target=self._watch, args=(over,))
        watching.start()
        try:
            yield
        finally:
            over.set()
            watching.join()

    def _watch(self, over: threading.Event) -> None:
        since: dict[tuple[int, str, str], float] = {}
        with psycopg.connect(
            with_database(os.environ["DATABASE_ADMIN_URL"], self.database), autocommit=True
        ) as admin:
            while not over.is_set():
                now = time.monotonic()
                # What a migration has made itself is in nobody's way, and not visible here before its commit.
                found = admin.execute(
                    """SELECT l.pid, c.relname, l.mode FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
                       JOIN pg_stat_activity a ON a.pid = l.pid
                       WHERE l.granted AND l.mode = ANY(%s) AND c.relkind IN ('r', 'p') AND a.usename = %s
                         AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())""",
                    (list(IN_THE_WAY), OWNER),
                ).fetchall()
                since = {key: since.get(key, now) for key in found}
                for key, began in since.items():
                    name = (key[1], key[2])
                    self.held[name] = max(self.held.get(name, 0.0), now - began + LOOK_EVERY_S)
                time.sleep(LOOK_EVERY_S)


@pytest.fixture
def copy(db: None) -> Iterator[str]:
    """A database of its own, as the migrations leave it."""
    name = databases.another(CLAIMS)
    yield name
    databases.drop(CLAIMS, name)


def fill(database: str, rows: int) -> dict[str, int]:
    """So many rows in each of the big tables, and a share of it in the others, all of one tenant's one run."""
    filled: dict[str, int] = {}
    with psycopg.connect(with_database(os.environ["DATABASE_ADMIN_URL"], database), autocommit=True) as admin:
        admin.execute(
            "SET session_replication_role = replica"
        )  # neither keys nor triggers: in order of the alphabet
        tables = admin.execute(
            """SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id'
               WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
               ORDER BY c.relname"""
        ).fetchall()
        for table in ("tenants_tenant", *(row[0] for row in tables)):
            count = rows if table in BIG else 1 if table == "tenants_tenant" else rows // SHARE_OF_OTHERS
            try:
                admin.execute(_filling(admin, table), (count,))
            except psycopg.errors.IntegrityError:  # one for each tenant, or words of its own
                continue
            filled[table] = count
    return filled


def _filling(admin: psycopg.Connection, table: str) -> sql.Composed:
    columns = admin.execute(
        """SELECT column_name, data_type, character_maximum_length FROM information_schema.columns
           WHERE table_schema = 'public' AND table_name = %s AND is_nullable = 'NO' AND column_default IS NULL
             AND is_identity = 'NO' AND is_generated = 'NEVER'""",
        (table,),
    ).fetchall()
    return sql.SQL("INSERT INTO {} ({}) SELECT {} FROM generate_series(1, %s) g").format(
        sql.Identifier(table),
        sql.SQL(", ").join(sql.Identifier(name) for name, _, _ in columns),
        sql.SQL(", ").join(sql.SQL(_value(table, *column)) for column in columns),
    )


def _value(table: str, column: str, kind: str, longest: int | None) -> Any:
    word = f"md5('{table}.{column}' || g)"
    if kind == "uuid" and column == "id":  # of now, so that it is in the partition of this month
        now = "lpad(to_hex((extract(epoch FROM now()) * 1000)::bigint), 12, '0')"
        made = f"({now} || '7' || left({word}, 3) || '8' || substr({word}, 4, 15))::uuid"
        if table == "step":  # nobody refers to it, and it is kept by what is in the number
            return made
        return f"CASE WHEN g = 1 THEN md5('{table.rsplit('_', 1)[-1]}_id')::uuid ELSE {made} END"
    if kind == "uuid":
        return f"md5('{column}')::uuid"  # the first row of the table that it is named after
    if kind in ("character varying", "text"):
        return f"left({word}, {longest or 32})"
    return f"{word}::bytea" if kind == "bytea" else VALUES.get(kind, "0")


def try_out(database: str, rows: int, before: Mapping[str, str], longest_s: float) -> None:
    migrator = Migrator(database)
    try:
        for app, name in before.items():
            migrator.to(app, name)
        filled = fill(database, rows)
        assert all(filled.get(table) == rows for table in BIG), filled
        locks = Locks(database)
        began = time.monotonic()
        with locks.watched():
            migrator.to()
        took = time.monotonic() - began
    finally:
        migrator.end()
    longest = sorted(locks.held.items(), key=lambda item: -item[1])[:8]
    show(
        f"Migrations since {before}",
        {"rows": sum(filled.values()), "seconds": round(took, 1)}
        | {f"{table}: {mode}": f"{seconds:.2f} s" for (table, mode), seconds in longest},
    )
    assert all(seconds <= longest_s for _, seconds in longest), longest


@pytest.mark.chaos
@pytest.mark.timeout(120)
def test_migrations_hold_no_lock_for_long(copy: str) -> None:
    try_out(copy, 2_000, NEWEST, ON_A_BUSY_MACHINE_S)


@pytest.mark.campaign
@pytest.mark.timeout(1800)
def test_migrations_hold_no_lock_for_long_on_a_million_rows(copy: str) -> None:
    try_out(copy, int(os.environ.get("WEIR_LOCK_ROWS", "1000000")), BEFORE, LONGEST_S)


@pytest.mark.chaos
def test_a_lock_that_is_held_is_seen_and_timed(copy: str) -> None:
    locks = Locks(copy)
    with psycopg.connect(with_database(os.environ["DATABASE_OWNER_URL"], copy)) as owner, locks.watched():
        owner.execute("LOCK TABLE run IN SHARE MODE")
        time.sleep(0.4)
        owner.rollback()
        time.sleep(0.2)
    assert 0.35 < locks.held[("run", "ShareLock")] < 0.6
