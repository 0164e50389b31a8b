"""The suite proves nothing about isolation unless it runs as the product does."""

import pytest
from django.conf import settings
from django.db import DatabaseError, connection, connections

from tenants.errors import ScopeError
from tenants.models import ApiKey, Membership
from tenants.scope import ops_scope, tenant_scope
from tests.factories import make_tenant
from workflows.models import Workflow


def login_of(alias: str) -> tuple[str, bool, bool]:
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT rolname, rolsuper, rolbypassrls FROM pg_roles WHERE rolname = current_user")
        return cursor.fetchone()


def test_a_test_runs_as_the_app_login_under_row_level_security(db):
    assert login_of("default") == ("weir_app", False, False)
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_class WHERE relowner = 'weir_app'::regrole")
        assert cursor.fetchone() == (0,)


def test_a_committed_test_has_the_ops_login_too(committed):
    assert login_of("default") == ("weir_app", False, False)
    assert login_of("ops") == ("weir_ops", False, False)


def test_the_database_is_this_process_s_own(db):
    assert connection.settings_dict["NAME"].startswith("weir_test_")
    assert not settings.REDIS_URL.endswith("/0")


def test_reading_outside_a_scope_raises(tenant):
    with pytest.raises(ScopeError):
        Workflow.objects.count()


def test_raw_sql_outside_a_scope_raises_too(tenant):
    with connection.cursor() as cursor, pytest.raises(DatabaseError, match=r"app\.tenant_id|uuid"):
        cursor.execute("SELECT count(*) FROM workflow")


def test_each_tenant_sees_its_own_rows_alone(tenant, other_tenant):
    with tenant_scope(tenant):
        assert Workflow.objects.count() == 2
        assert {m.tenant_id for m in Membership.objects.all()} == {tenant.pk}
        with connection.cursor() as cursor:
            cursor.execute("SELECT DISTINCT tenant_id FROM workflow")
            assert cursor.fetchall() == [(tenant.pk,)]


@pytest.mark.parametrize("time", ["first", "second"])
def test_what_a_committed_test_wrote_is_gone_afterwards(committed, time):
    make_tenant("Left behind", email="left@behind.example")
    with ops_scope("test"):
        assert Membership.objects.count() == 1
        assert ApiKey.objects.count() == 0
        assert Workflow.objects.count() == 2
