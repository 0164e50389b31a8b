"""What the scopes refuse, in which words, what is told of one that was never left, and where the router sends the ORM."""

import os
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

import psycopg
import pytest
from django.db import Error as DatabaseError
from django.db import connections, transaction
from structlog.testing import capture_logs

from tenants.errors import ScopeError
from tenants.models import Tenant
from tenants.scope import (
    ScopeRouter,
    _current,
    as_tenant_from_ops,
    drop_leftovers,
    is_away,
    may_be_done,
    open_tenant_id,
    ops_reason,
    ops_scope,
    require_tenant_id,
    tenant_scope,
)
from tests.factories import make_tenant


def refusal(scope: Any) -> str:
    with pytest.raises(ScopeError) as told, scope:
        raise AssertionError("let in")
    return str(told.value)


def test_a_scope_names_its_tenant_and_may_be_opened_again_inside(tenant: Tenant):
    with tenant_scope(tenant) as outer, tenant_scope(tenant.pk) as inner:
        assert outer == inner == tenant.pk == open_tenant_id() == require_tenant_id()
    assert open_tenant_id() is None
    assert ops_reason() is None


def test_one_scope_keeps_others_out_and_says_why(tenant: Tenant):
    with tenant_scope(tenant):
        assert refusal(tenant_scope(uuid.uuid4())) == "Another tenant's scope is open; leave it first."
        assert refusal(ops_scope("tests")) == "An ops scope cannot be opened inside a tenant scope."
        assert open_tenant_id() == tenant.pk
    with ops_scope("tests: somebody"):
        assert refusal(tenant_scope(tenant)) == "A tenant scope cannot be opened inside an ops scope."
        assert ops_reason() == "tests: somebody"
    assert refusal(ops_scope(" ")) == "An ops scope needs a reason."
    assert refusal(as_tenant_from_ops(tenant.pk)) == "There is no ops scope to step out of."


def test_a_scope_that_was_left_is_kept_by_nothing(tenant: Tenant):
    scope = tenant_scope(tenant)
    for _ in range(2):  # one after the other, and each is found again only while it is open
        with scope, tenant_scope(tenant):
            assert _current.get() is not None
        assert _current.get() is None


def left_open(make: Callable[[], Any]) -> tuple[bool, list[Any], Any]:
    """On a thread that enters and never leaves: what is told of it, and the state of its connection afterwards."""

    def run() -> tuple[bool, list[Any], Any]:
        scope = make()  # held: one that is collected is left
        scope.__enter__()
        with capture_logs() as logs:
            found = drop_leftovers()
        at_work = [one.alias for one in connections.all(initialized_only=True)]
        here = connections["default"]
        state = at_work, here.in_atomic_block, here.closed_in_transaction, here.connection
        connections.close_all()
        return found, logs, state

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(run).result()


def test_a_tenants_scope_that_was_never_left_is_told_and_ended(committed: None):
    tenant = make_tenant().tenant
    found, logs, state = left_open(lambda: tenant_scope(tenant))
    assert found is True
    assert logs == [
        {"event": "scope_left_open", "tenant_id": str(tenant.pk), "reason": None, "log_level": "error"}
    ]
    assert state == (["default"], False, False, None)


def test_an_ops_scope_that_was_never_left_is_told_and_ended(committed: None):
    found, logs, _ = left_open(lambda: ops_scope("tests: somebody"))
    assert found is True
    assert logs == [
        {"event": "scope_left_open", "tenant_id": "None", "reason": "tests: somebody", "log_level": "error"}
    ]


def test_a_transaction_that_was_never_left_is_ended_as_well(committed: None):
    found, logs, state = left_open(transaction.atomic)
    assert found is True
    assert [line["event"] for line in logs] == ["scope_left_open"]
    assert state[1:] == (False, False, None)


def test_where_nothing_was_left_nothing_is_told_and_no_connection_is_made(db: None):
    found, logs, (at_work, *_) = left_open(nullcontext)
    assert (found, logs) == (False, [])
    assert at_work == []


def test_the_router_follows_the_scope_and_migrations_the_app(tenant: Tenant):
    router = ScopeRouter()
    assert (router.db_for_read(Tenant), router.db_for_write(Tenant)) == ("default", "default")
    with ops_scope("tests"):
        assert (router.db_for_read(Tenant), router.db_for_write(Tenant)) == ("ops", "ops")
    with tenant_scope(tenant):
        assert router.db_for_read(Tenant) == "default"
    assert router.allow_relation(tenant, tenant) is True
    assert router.allow_migrate("default", "tenants") is True
    assert router.allow_migrate("ops", "tenants") is False


def end_session(pid: int) -> None:
    with psycopg.connect(os.environ["DATABASE_ADMIN_URL"], autocommit=True) as admin:
        admin.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])


def session() -> int:
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


def cut_off_in(tenant: Tenant, *, early: bool) -> BaseException:
    """The error of a scope whose session the server ends: before its last statement, or after it."""
    try:
        with tenant_scope(tenant):
            pid = session()
            with ThreadPoolExecutor(1) as other:
                other.submit(end_session, pid).result()
            if early:
                session()
    except DatabaseError as error:
        return error
    raise AssertionError("committed")


def test_what_was_written_may_be_there_only_where_the_commit_had_begun(committed: None) -> None:
    tenant = make_tenant().tenant
    assert may_be_done(cut_off_in(tenant, early=False))
    connections["default"].close()
    assert not may_be_done(cut_off_in(tenant, early=True))
    assert not may_be_done(ValueError())


def test_a_connection_that_an_error_came_from_is_away_if_it_was_ended(committed: None) -> None:
    tenant = make_tenant().tenant
    with tenant_scope(tenant):
        pid = session()
    connections["default"].errors_occurred = True
    assert not is_away("default")
    end_session(pid)
    connections["default"].errors_occurred = True
    assert is_away("default")
    with tenant_scope(tenant):
        assert session() != pid
    assert not is_away("default")
