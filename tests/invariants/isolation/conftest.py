"""Two tenants with a row in every table, committed by the owner, gone after the module."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql

from tests import databases
from tests.invariants.isolation.logins import SignedIn, administrator, undone
from tests.invariants.isolation.seeds import Subject, World, build


@pytest.fixture(scope="module")
def owner(django_db_setup: None) -> Iterator[psycopg.Connection]:
    with psycopg.connect(os.environ["DATABASE_OWNER_URL"], autocommit=True) as connection:
        yield connection


@pytest.fixture
def admin(django_db_setup: None) -> Iterator[psycopg.Connection]:
    """The server's administrator in this process's database; whatever the test does is undone."""
    with administrator() as connection, undone(connection):
        yield connection


@pytest.fixture(scope="module")
def world(owner: psycopg.Connection) -> Iterator[World]:
    with owner.transaction():
        seeded = build(owner)
    yield seeded
    databases.empty()


@pytest.fixture(scope="module")
def app(django_db_setup: None) -> Iterator[SignedIn]:
    """The app login, signed in for real."""
    session = SignedIn(os.environ["DATABASE_URL"])
    yield session
    session.close()


@pytest.fixture
def orm(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """Django's own connections, with no transaction around the test: what is written is committed."""
    from django.db import connections

    with django_db_blocker.unblock():
        yield
        connections.close_all()


@pytest.fixture(scope="module")
def others(owner: psycopg.Connection) -> Callable[[Subject], Any]:
    return lambda subject: others_rows(owner, subject)


def others_rows(connection: psycopg.Connection, subject: Subject) -> Any:
    """What tells one state of everybody else's rows from another: versions and contents."""
    first = sql.Identifier(subject.key[0])
    statement = sql.SQL(
        "SELECT md5(string_agg(t.xmin::text || to_jsonb(t)::text, '|' ORDER BY t.{}::text)), count(*) "
        "FROM {} t WHERE t.{} <> %s"
    ).format(first, sql.Identifier(subject.entry.table), first)
    return connection.execute(statement, [subject.mine[subject.key[0]]]).fetchone()
