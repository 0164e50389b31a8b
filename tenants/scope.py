"""The one place where a tenant is entered and left.

`tenant_scope` opens a transaction and tells PostgreSQL whose rows may be seen; `ops_scope` is the only way across
tenants. What PostgreSQL is told is transaction-local: a session-level setting was seen to leak through pools.
"""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from django.db import connections, transaction

from tenants.errors import ScopeError

if TYPE_CHECKING:
    from tenants.models import Tenant

SETTING = "app.tenant_id"
APP_ALIAS = "default"
OPS_ALIAS = "ops"

_open_tenant: ContextVar[uuid.UUID | None] = ContextVar("weir_open_tenant", default=None)
_ops_reason: ContextVar[str | None] = ContextVar("weir_ops_reason", default=None)


def open_tenant_id() -> uuid.UUID | None:
    """The tenant whose scope is open here, or None."""
    return _open_tenant.get()


def ops_reason() -> str | None:
    """Why the open ops scope was opened, or None outside one."""
    return _ops_reason.get()


def require_tenant_id() -> uuid.UUID:
    """The open tenant; raises ScopeError outside a scope."""
    tenant_id = _open_tenant.get()
    if tenant_id is None:
        raise ScopeError("Tenant data was asked for outside a tenant scope: wrap the call in tenant_scope().")
    return tenant_id


def set_tenant(cursor: Any, tenant_id: uuid.UUID | None) -> None:
    """Tell PostgreSQL, until the transaction ends, whose rows this connection may touch (None: nobody's)."""
    cursor.execute("SELECT set_config(%s, %s, true)", (SETTING, str(tenant_id) if tenant_id else ""))


@contextmanager
def tenant_scope(tenant: "Tenant | uuid.UUID") -> Iterator[uuid.UUID]:
    """A transaction in which exactly this tenant's rows can be read and written.

    May be nested for the same tenant (a savepoint). Raises ScopeError when another tenant's scope or an ops scope
    is open. Whatever way the block is left, nothing stays behind on the connection.
    """
    tenant_id = tenant if isinstance(tenant, uuid.UUID) else tenant.pk
    if _ops_reason.get() is not None:
        raise ScopeError("A tenant scope cannot be opened inside an ops scope.")
    opened = _open_tenant.get()
    if opened is not None and opened != tenant_id:
        raise ScopeError("Another tenant's scope is open; leave it first.")
    connection = connections[APP_ALIAS]
    nested = connection.in_atomic_block
    with transaction.atomic(using=APP_ALIAS):
        with connection.cursor() as cursor:
            set_tenant(cursor, tenant_id)
        token = _open_tenant.set(tenant_id)
        try:
            yield tenant_id
        finally:
            _open_tenant.reset(token)
        # An error rolls the savepoint back and the setting with it; a clean exit inside an outer transaction has
        # to put it back by hand.
        if nested and not connection.needs_rollback:
            with connection.cursor() as cursor:
                set_tenant(cursor, opened)


@contextmanager
def ops_scope(reason: str) -> Iterator[None]:
    """Cross tenants, through the ops login: inside, the router sends the ORM to the `ops` alias.

    `reason` is kept for the audit trail and must not be empty. Opens no transaction.
    """
    if not reason.strip():
        raise ScopeError("An ops scope needs a reason.")
    if _open_tenant.get() is not None:
        raise ScopeError("An ops scope cannot be opened inside a tenant scope.")
    token = _ops_reason.set(reason)
    try:
        yield
    finally:
        _ops_reason.reset(token)


@contextmanager
def as_tenant_from_ops(tenant_id: uuid.UUID) -> Iterator[uuid.UUID]:
    """Step out of the open ops scope into one tenant's, for one operation; the ops scope is open again afterwards.

    Inside, everything is as for the tenant itself: the app login, its policies, its grants. Raises ScopeError outside
    an ops scope, and inside a transaction of the ops login: the two logins would wait for each other's locks, and
    what the one wrote would not be undone with the other.
    """
    reason = _ops_reason.get()
    if reason is None:
        raise ScopeError("There is no ops scope to step out of.")
    if connections[OPS_ALIAS].in_atomic_block:
        raise ScopeError("Leave the ops login's transaction before stepping into a tenant.")
    token = _ops_reason.set(None)
    try:
        with tenant_scope(tenant_id):
            yield tenant_id
    finally:
        _ops_reason.reset(token)


class ScopeRouter:
    """Sends the ORM to the ops login inside an ops scope, to the app login everywhere else."""

    def db_for_read(self, model: type, **hints: Any) -> str:
        return OPS_ALIAS if _ops_reason.get() is not None else APP_ALIAS

    db_for_write = db_for_read

    def allow_relation(self, obj1: Any, obj2: Any, **hints: Any) -> bool:
        return True  # both aliases are logins of one database

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool:
        return db == APP_ALIAS
