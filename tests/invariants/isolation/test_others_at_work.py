"""What one session can see of another that is at work under the same login: never the text of its queries."""

import os
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from tests.environment import LOGIN_URLS

CANARY = "margarethenhof"
# In two halves, so that the search does not find itself.
PATTERN = f"'%{CANARY[:6]}' || '{CANARY[6:]}%'"
SHARED = ("weir_app", "weir_ops")


@pytest.fixture(params=SHARED)
def busy(request: pytest.FixtureRequest, django_db_setup: None) -> Iterator[str]:
    """A login under which one session has just asked something, in a transaction that is still open."""
    with psycopg.connect(os.environ[LOGIN_URLS[request.param]]) as connection:
        connection.execute("SELECT pg_advisory_xact_lock_shared(1)")
        connection.execute(f"SELECT '{CANARY}'")
        yield request.param


def readable(search: psycopg.Connection) -> list[sql.Composable]:
    """Every table and view of the catalogue, and every function of it that gives rows for nothing."""
    relations = search.execute(
        """SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
           WHERE n.nspname IN ('pg_catalog', 'information_schema') AND c.relkind IN ('r', 'v')
             AND has_table_privilege(c.oid, 'SELECT') ORDER BY 1, 2"""
    ).fetchall()
    functions = search.execute(
        """SELECT proname FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace AND prokind = 'f'
             AND pronargs = 0 AND proretset AND has_function_privilege(oid, 'EXECUTE') ORDER BY 1"""
    ).fetchall()
    return [
        *(sql.Identifier(*names) for names in relations),
        *(sql.SQL("pg_catalog.{}()").format(sql.Identifier(*names)) for names in functions),
        sql.SQL("pg_stat_get_activity(NULL)"),
        sql.SQL("(SELECT pg_stat_get_backend_activity(b) FROM pg_stat_get_backend_idset() b)"),
    ]


def found_in(search: psycopg.Connection) -> list[str]:
    """The places that hold the canary."""
    places, closed = [], []
    for source in readable(search):
        query = sql.SQL("SELECT count(*) FROM {} AS r WHERE r::text LIKE {}").format(source, sql.SQL(PATTERN))
        try:
            row = search.execute(query).fetchone()
        except psycopg.Error:
            closed.append(
                source.as_string(search)
            )  # not for this login, or of no use outside an event trigger
            continue
        if row and row[0]:
            places.append(source.as_string(search))
    assert len(closed) < 30, closed
    assert not any("stat" in place for place in closed if "statistic" not in place), closed
    return places


def test_nothing_of_the_catalogue_shows_what_another_session_asked(busy: str) -> None:
    with psycopg.connect(os.environ[LOGIN_URLS[busy]], autocommit=True) as search:
        assert len(readable(search)) > 150
        assert found_in(search) == []


def test_no_login_can_switch_the_showing_on_again(busy: str) -> None:
    with psycopg.connect(os.environ[LOGIN_URLS[busy]], autocommit=True) as search:
        for statement in (
            "SET track_activities = on",
            "SELECT set_config('track_activities', 'on', false)",
            f"ALTER ROLE {busy} SET track_activities = on",
            f"ALTER ROLE {busy} RESET track_activities",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                search.execute(statement)
        search.execute("RESET ALL")
        search.execute("DISCARD ALL")
        assert search.execute("SHOW track_activities").fetchone() == ("off",)


def test_the_search_finds_what_is_shown(django_db_setup: None) -> None:
    """With the setting as PostgreSQL has it, which the administrator's sessions have, the text is there."""
    admin = os.environ["DATABASE_ADMIN_URL"]
    with psycopg.connect(admin) as at_work, psycopg.connect(admin, autocommit=True) as search:
        at_work.execute(f"SELECT '{CANARY}'")
        assert any("pg_stat_activity" in place for place in found_in(search))


def test_nothing_keeps_statistics_of_statements(busy: str) -> None:
    with psycopg.connect(os.environ[LOGIN_URLS[busy]], autocommit=True) as search:
        assert search.execute("SELECT extname FROM pg_extension ORDER BY 1").fetchall() == [("plpgsql",)]
