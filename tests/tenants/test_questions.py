"""What is asked for with the message that begins a scope's transaction."""

import os
from contextlib import suppress
from typing import Any

import psycopg
import pytest
from django.db import DatabaseError, OperationalError, connection

from tenants.models import Tenant
from tenants.questions import Question
from tenants.scope import tenant_scope
from tests.factories import make_tenant
from workflows.lanes.wire import engine_cursor

WHOSE = Question("whose_test", "SELECT t.name || $1::text FROM tenants_tenant t")
FAULTY = Question("faulty_test", "SELECT 1 / length($1::text)")


def ask(question: Question, *values: str) -> Any:
    return lambda wrapper: question.asked_with(wrapper, *values)


def prepared() -> int:
    """How often it is prepared in this session."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_prepared_statements WHERE name = %s", [WHOSE.name])
        return int(cursor.fetchone()[0])


@pytest.fixture(autouse=True)
def _fresh_session(committed: None) -> None:
    connection.close()


def test_it_is_answered_as_the_tenant_whose_scope_begins(tenant: Tenant) -> None:
    yours = make_tenant("Beta").tenant
    for one in (tenant, yours, tenant):
        with (
            tenant_scope(one, ahead=True, asking=ask(WHOSE, "!")) as tenant_id,
            connection.cursor() as cursor,
        ):
            cursor.execute("SELECT current_setting('app.tenant_id')")
            assert cursor.fetchone() == (str(tenant_id),)
        with (scope := tenant_scope(one, asking=ask(WHOSE, "?"))):
            assert scope.answer == one.name + "?"
    assert prepared() == 1


def test_a_new_session_is_told_of_it_again(tenant: Tenant) -> None:
    for _ in range(2):
        with (scope := tenant_scope(tenant, asking=ask(WHOSE, ""))):
            assert scope.answer == tenant.name
        connection.close()
        assert prepared() == 0


def test_it_is_prepared_again_where_a_rollback_had_it_forgotten(tenant: Tenant) -> None:
    for _ in range(2):
        with (scope := tenant_scope(tenant, asking=ask(WHOSE, ""))):
            assert scope.answer == tenant.name
        with (
            suppress(ZeroDivisionError),
            tenant_scope(tenant),
            engine_cursor("default", prepared=True) as cursor,
        ):
            cursor.execute("SELECT 1")
            raise ZeroDivisionError
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")  # psycopg sends what it has put off
    assert prepared() == 0


def test_a_scope_within_one_is_answered_nothing(tenant: Tenant) -> None:
    with tenant_scope(tenant), (inner := tenant_scope(tenant, asking=ask(WHOSE, ""))):
        assert inner.answer is None


@pytest.mark.parametrize("value", ["a'b", "a\\", "\0"])
def test_a_value_that_would_end_the_statement_is_refused(tenant: Tenant, value: str) -> None:
    with pytest.raises(ValueError, match="whose_test"), tenant_scope(tenant, asking=ask(WHOSE, value)):
        pytest.fail("the scope was opened")
    with (scope := tenant_scope(tenant, asking=ask(WHOSE, ""))):
        assert scope.answer == tenant.name


def test_an_error_opens_no_scope_and_harms_no_later_one(tenant: Tenant) -> None:
    for _ in range(2):
        with pytest.raises(DatabaseError, match="division"), tenant_scope(tenant, asking=ask(FAULTY, "")):
            pytest.fail("the scope was opened")
        assert connection.connection.info.transaction_status.name == "IDLE"
        with (scope := tenant_scope(tenant, asking=ask(FAULTY, "x"))):
            assert scope.answer == "1"


def test_a_session_that_forgot_one_of_two_knows_the_other_still(tenant: Tenant) -> None:
    for _ in range(2):
        for question in (WHOSE, FAULTY):
            with (scope := tenant_scope(tenant, asking=ask(question, "x"))):
                assert scope.answer
        with connection.cursor() as cursor:
            cursor.execute(f"DEALLOCATE {FAULTY.name}")
        with (scope := tenant_scope(tenant, asking=ask(FAULTY, "x"))):
            assert scope.answer == "1"


def test_a_statement_that_cannot_be_prepared_is_said(tenant: Tenant) -> None:
    nonsense = Question("nonsense_test", "SELECT nothing FROM nowhere")
    for _ in range(2):
        with pytest.raises(DatabaseError, match="nowhere"), tenant_scope(tenant, asking=ask(nonsense)):
            pytest.fail("the scope was opened")


def test_a_session_that_ended_meanwhile_is_an_operational_error(tenant: Tenant) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()
    with psycopg.connect(os.environ["DATABASE_ADMIN_URL"], autocommit=True) as admin:
        admin.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
    with pytest.raises(OperationalError), tenant_scope(tenant, asking=ask(WHOSE, "")):
        pytest.fail("the scope was opened")
