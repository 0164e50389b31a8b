"""A release that changes policies while others are at work: they wait for moments, it waits for them."""

import os
import threading
import time
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import errors

from tenants import upkeep
from tenants.ids import uuid7
from tenants.roles import OWNER, SETTINGS
from tenants.verdicts import report


@pytest.fixture
def owner(committed: None) -> Iterator[psycopg.Connection]:
    """Commits for real; whatever was spoilt is mended afterwards."""
    with psycopg.connect(os.environ["DATABASE_OWNER_URL"], autocommit=True) as connection:
        yield connection
        with connection.cursor() as cursor:
            upkeep.apply(cursor)
            assert report(cursor).faults == []


@pytest.fixture
def idle(committed: None) -> Iterator[psycopg.Connection]:
    """A transaction of the app that has read a table, and stays open."""
    with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
        read(connection, "run")
        yield connection
        connection.rollback()


def read(connection: psycopg.Connection, table: str) -> None:
    connection.execute("SELECT set_config('app.tenant_id', %s, true)", [str(uuid7())])
    connection.execute(f"SELECT 1 FROM {table}".encode())


def mend(connection: psycopg.Connection) -> list[str]:
    with connection.cursor() as cursor:
        return upkeep.apply(cursor)


def spoil(owner: psycopg.Connection, *tables: str) -> None:
    for table in tables:
        owner.execute(f"ALTER POLICY weir_app_own ON {table} USING (false)".encode())


def test_an_open_transaction_on_one_table_holds_nobody_up(
    owner: psycopg.Connection, idle: psycopg.Connection
) -> None:
    idle.rollback()
    tables = ("lane", "run", "upload", "workflow")
    spoil(owner, *tables)
    read(idle, "run")
    changed: list[str] = []
    release = threading.Thread(target=lambda: changed.extend(mend(owner)))
    release.start()
    longest, end = 0.0, time.monotonic() + 2.5
    with psycopg.connect(os.environ["DATABASE_URL"]) as request:
        request.execute("SET lock_timeout = '3s'")
        request.commit()
        while time.monotonic() < end:
            for table in tables:
                began = time.monotonic()
                read(request, table)
                request.rollback()
                longest = max(longest, time.monotonic() - began)
    assert release.is_alive()
    idle.rollback()
    release.join(timeout=20)
    assert sorted(changed) == sorted(tables)
    assert longest < 2 * upkeep.LOCK_TIMEOUT_MS / 1000


def test_what_somebody_holds_for_too_long_is_named_and_the_rest_stays_mended(
    owner: psycopg.Connection, idle: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    idle.rollback()
    spoil(owner, "workflow", "run")
    read(idle, "run")
    with monkeypatch.context() as patched:
        patched.setattr(upkeep, "ATTEMPTS", 2)
        patched.setattr(upkeep, "PAUSE_SECONDS", 0.01)
        patched.setattr(upkeep, "LOCK_TIMEOUT_MS", 50)
        with pytest.raises(errors.LockNotAvailable) as refused:
            mend(owner)
    assert "of run could not be changed" in refused.value.__notes__[0]
    assert owner.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
    idle.rollback()
    assert "run" in mend(owner)
    assert mend(owner) == []


def test_a_policy_that_says_something_else_is_altered_in_place(owner: psycopg.Connection) -> None:
    def known() -> list[tuple[int, str]]:
        return owner.execute(
            "SELECT oid, polname FROM pg_policy WHERE polrelid = 'lane'::regclass ORDER BY 1"
        ).fetchall()

    before = known()
    spoil(owner, "lane")
    assert mend(owner) == ["lane"]
    assert known() == before


def test_grants_are_mended_while_somebody_reads(
    owner: psycopg.Connection, idle: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner.execute("GRANT DELETE ON run TO weir_readonly")
    monkeypatch.setattr(upkeep, "ATTEMPTS", 1)
    assert mend(owner) == ["run"]


def test_a_migration_gives_up_before_requests_that_wait_behind_it_do(owner: psycopg.Connection) -> None:
    def seconds(text: str) -> int:
        return int(text.removesuffix("s"))

    assert owner.execute("SHOW lock_timeout").fetchone() == (SETTINGS[OWNER]["lock_timeout"],)
    assert seconds(SETTINGS[OWNER]["lock_timeout"]) < min(
        seconds(settings["lock_timeout"])
        for role, settings in SETTINGS.items()
        if role in ("weir_app", "weir_ops")
    )
