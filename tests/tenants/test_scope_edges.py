"""What the scopes refuse, in which words, and where the router sends the ORM."""

import uuid
from typing import Any

import pytest

from tenants.errors import ScopeError
from tenants.models import Tenant
from tenants.scope import (
    ScopeRouter,
    as_tenant_from_ops,
    open_tenant_id,
    ops_reason,
    ops_scope,
    require_tenant_id,
    tenant_scope,
)


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
