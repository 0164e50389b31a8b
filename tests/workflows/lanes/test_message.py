"""Statements in one message: prepared once in a session, and as good after whatever happens to it."""

import os
import threading
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from django.db import connection, transaction

from workflows.lanes import message
from workflows.lanes.message import exchange
from workflows.lanes.wire import engine_cursor

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def raw(committed: None) -> Iterator[Any]:
    connection.ensure_connection()
    connection.connection.commit()
    yield connection.connection
    connection.close()


def prepared(raw: Any) -> list[str]:
    with transaction.atomic():
        found = raw.execute("SELECT statement FROM pg_prepared_statements WHERE name LIKE 'weir%'").fetchall()
    return sorted(row[0] for row in found)


def test_rows_are_those_of_the_statements_that_are_asked_for(raw: Any) -> None:
    numbers = [("SELECT %s::int + %s::int, '%%'", (n, 10)) for n in range(3)]
    with transaction.atomic():
        assert exchange(raw, numbers, [2, 0]) == [[(12, "%")], [(10, "%")]]
        assert exchange(raw, [("SELECT 1", ())], []) == []


def test_named_values_are_sent_once_and_lists_as_arrays(raw: Any) -> None:
    statement = "SELECT %(a)s::text || %(b)s::text || %(a)s::text, cardinality(%(many)s::int[])"
    with transaction.atomic():
        found = exchange(raw, [(statement, {"b": "-", "a": "x", "many": [1, 2, 3]})], [0])
    assert found == [[("x-x", 3)]]


def test_each_is_prepared_once(raw: Any) -> None:
    for number in range(3):
        with transaction.atomic():
            exchange(raw, [("SELECT %s::text", ("one",)), ("SELECT %s::text", (str(number),))], [0])
    assert prepared(raw) == ["SELECT $1::text"]


def test_past_a_pooler_nothing_is_prepared(raw: Any) -> None:
    raw.prepare_threshold = None
    with transaction.atomic():
        assert exchange(raw, [("SELECT %s::text", ("one",)), ("SELECT 2", ())], [0, 1]) == [
            [("one",)],
            [(2,)],
        ]
    assert prepared(raw) == []


@pytest.mark.parametrize("savepoint", [False, True], ids=["", "to a savepoint"])
def test_after_a_rollback_it_is_prepared_again(raw: Any, savepoint: bool) -> None:
    """psycopg has the server forget all statements then, if one of its own was among them."""
    with transaction.atomic(), engine_cursor("default", prepared=True) as cursor:
        cursor.execute("SELECT 'its own'")
    for _ in range(2):
        with transaction.atomic():
            assert exchange(raw, [("SELECT 'ours'", ())], [0]) == [[("ours",)]]
            if savepoint:
                with pytest.raises(ZeroDivisionError), transaction.atomic():
                    raise ZeroDivisionError
                assert exchange(raw, [("SELECT 'ours'", ())], [0]) == [[("ours",)]]
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            raise ZeroDivisionError


def test_the_first_that_fails_is_told_and_the_connection_goes_on(raw: Any) -> None:
    bad = [("SELECT 1", ()), ("SELECT 1 / %s::int", (0,)), ("SELECT no_such_column", ())]
    for _ in range(2):
        with pytest.raises(psycopg.errors.DivisionByZero):
            exchange(raw, bad, [0])
        raw.rollback()
    with pytest.raises(psycopg.errors.UndefinedColumn):
        exchange(raw, bad[::2], [0])
    raw.rollback()
    assert exchange(raw, bad[:1], [0]) == [[(1,)]]


def test_what_was_prepared_stays_known_when_nothing_is_forgotten(raw: Any) -> None:
    """Else each rollback would leave the session with one more of every statement."""
    for _ in range(4):
        with pytest.raises(psycopg.errors.DivisionByZero):
            exchange(raw, [("SELECT 1", ()), ("SELECT 1 / %s::int", (0,)), ("SELECT 2", ())], [0])
        raw.rollback()
    assert prepared(raw) == ["SELECT 1", "SELECT 1 / $1::int"]


def test_a_value_that_cannot_be_written_sends_nothing(raw: Any) -> None:
    with transaction.atomic():
        with pytest.raises(psycopg.DataError):
            exchange(raw, [("SELECT 1", ()), ("SELECT %s::text[]", (["\0"],))], [0])
        assert exchange(raw, [("SELECT 2", ())], [0]) == [[(2,)]]


def test_more_than_the_socket_holds_in_both_directions(raw: Any) -> None:
    text = "x" * 20_000
    with transaction.atomic():
        found = exchange(raw, [("SELECT %s::text", (text,))] * 500, list(range(500)))
    assert found == [[(text,)]] * 500


def test_a_connection_that_is_cut_in_between_is_closed(raw: Any) -> None:
    session = raw.info.backend_pid

    def cut() -> None:
        time.sleep(0.3)
        with psycopg.connect(os.environ["DATABASE_ADMIN_URL"], autocommit=True) as admin:
            admin.execute("SELECT pg_terminate_backend(%s, 5000)", [session])

    cutting = threading.Thread(target=cut)
    cutting.start()
    with pytest.raises(psycopg.OperationalError) as raised:
        exchange(raw, [("SELECT 1", ()), ("SELECT pg_sleep(20)", ())], [0])
    cutting.join()
    assert raised.value.sqlstate in (None, "57P01")
    assert raw.closed


def test_whatever_comes_in_between_closes_the_connection(raw: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is still to be answered would be taken for the next one's answers."""

    def interrupted(server: Any) -> None:
        raise RuntimeError("in between")

    monkeypatch.setattr(message, "_answers", interrupted)
    with pytest.raises(RuntimeError, match="in between"):
        exchange(raw, [("SELECT 1", ())], [0])
    assert raw.closed
