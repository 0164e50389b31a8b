"""What each login may do with each table, tried for real against what its class allows."""

import os
import re
import subprocess
from collections import Counter
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from config.embedded.layout import postgres_bin
from tenants import rls
from tenants.catalogue import relations
from tenants.classes import Isolated, table_classes
from tenants.roles import APP, BACKUP, OPS, READONLY
from tests.environment import LOGIN_URLS
from tests.invariants.isolation.acts import DENIED, Step, delete, insert, select, update
from tests.invariants.isolation.logins import SignedIn
from tests.invariants.isolation.seeds import World

# Refused by PostgreSQL before it looks at a row, so a table need not hold any. The lock goes as the transaction does.
TRIES = {
    "SELECT": "SELECT 1 FROM {table} LIMIT 0",
    "INSERT": "INSERT INTO {table} SELECT * FROM {table} WHERE false",
    "UPDATE": "UPDATE {table} SET {column} = {column} WHERE false",
    "DELETE": "DELETE FROM {table} WHERE false",
    "TRUNCATE": "TRUNCATE {table} CASCADE",
    "REFERENCES": None,
    "TRIGGER": None,
}
NEEDS_READ = {"INSERT", "UPDATE"}


@pytest.fixture(params=[APP, OPS, READONLY, BACKUP])
def login(request: pytest.FixtureRequest, django_db_setup: None) -> Iterator[tuple[str, SignedIn]]:
    session = SignedIn(os.environ[LOGIN_URLS[request.param]])
    # Whoever can sign in can switch this off, so nothing may hang on it.
    session.connection.execute("SET default_transaction_read_only = off")
    session.connection.commit()
    yield request.param, session
    session.close()


def test_every_login_can_do_what_its_class_allows_and_no_more(
    login: tuple[str, SignedIn], owner: psycopg.Connection, world: World
) -> None:
    name, session = login
    with owner.cursor() as cursor:
        there = relations(cursor)
    entries = [*table_classes(), *(Isolated(t, "partition") for t, found in there.items() if found.partition)]
    wrong = []
    for entry in entries:
        allowed = rls.grants(entry).get(name, frozenset())
        column = next(iter(there[entry.table].columns))
        for verb, text in TRIES.items():
            if text is None:
                continue
            statement = sql.SQL(text).format(table=sql.Identifier(entry.table), column=sql.Identifier(column))
            answer = session.run(world.me, (statement, []))
            wanted = verb in allowed and (verb not in NEEDS_READ or "SELECT" in allowed)
            if (answer.error == "") != wanted or answer.error not in ("", DENIED):
                wrong.append(f"{verb} {entry.table}: {answer.error or 'let through'} {answer.text}")
    assert wrong == []
    assert len(entries) > 40


def test_readonly_sees_all_tenants_and_no_secret_and_writes_nothing(
    world: World, django_db_setup: None
) -> None:
    session = SignedIn(os.environ["DATABASE_READONLY_URL"])
    unlocks: list[list[Step]] = [[], [("SET TRANSACTION READ WRITE", [])]]
    try:
        for subject in world.subjects.values():
            for row in (subject.mine, subject.theirs):
                seen = session.run(None, select(subject, row))
                assert (seen.error == DENIED) if subject.entry.kind == "secret" else seen.count == 1
                key = subject.key[0]
                for step in (
                    update(subject, row, **{key: row[key]}),
                    delete(subject, row),
                    insert(subject, row),
                ):
                    for unlock in unlocks:
                        # 25006: the transaction is read-only. 42501: it is not, and the grant is missing.
                        answer = session.run(None, *unlock, step, keep=True)
                        assert answer.error == (DENIED if unlock else "25006"), subject.entry.table
    finally:
        session.close()


def test_a_partition_is_reached_through_its_parent_alone(
    owner: psycopg.Connection, world: World, app: SignedIn
) -> None:
    with owner.cursor() as cursor:
        parts = [name for name, found in relations(cursor).items() if found.partition]
    assert len(parts) > 10
    for login in (APP, OPS, READONLY):
        session = SignedIn(os.environ[LOGIN_URLS[login]])
        try:
            for part in parts:
                answer = session.run(world.me, (sql.SQL("SELECT * FROM {}").format(sql.Identifier(part)), []))
                assert answer.error == DENIED, (login, part)
        finally:
            session.close()
    dump = SignedIn(os.environ["DATABASE_BACKUP_URL"])
    try:
        counts = [
            dump.run(None, (sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(part)), [])).rows[0][0]
            for part in parts
        ]
        whole = dump.run(None, ("SELECT count(*) FROM step", [])).rows[0][0]
    finally:
        dump.close()
    assert sum(counts) == whole >= 2


def test_a_dump_by_the_backup_login_has_every_row(owner: psycopg.Connection, world: World) -> None:
    """Under policies a dump may be empty and still say that all went well, so the rows are counted."""
    command = [str(postgres_bin() / "pg_dump"), "--enable-row-security", "--data-only", "--no-owner"]
    done = subprocess.run(
        [*command, "--dbname", os.environ["DATABASE_BACKUP_URL"]], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    dumped: Counter[str] = Counter()
    for table, rows in re.findall(
        r"^COPY public\.(\w+) .*? FROM stdin;\n(.*?)^\\\.$", done.stdout, re.MULTILINE | re.DOTALL
    ):
        dumped[re.sub(r"^step_(default|\d{4}_\d\d)$", "step", table)] += rows.count("\n")
    for table in world.subjects:
        row = owner.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))).fetchone()
        assert row
        assert dumped[table] == row[0] >= 2, table
    assert "SELECT pg_catalog.setval(" in done.stdout
