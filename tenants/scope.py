"""The one place where a tenant is entered and left.

`tenant_scope` opens a transaction and tells PostgreSQL whose rows may be seen; `ops_scope` is the only way across
tenants. What PostgreSQL is told is transaction-local: a session-level setting was seen to leak through pools.

A scope belongs to the thread that opened it. Copies of its context, as threads and tasks of asyncio take them along,
see nothing of it; once it is left nobody does, in whatever order, thread or context that happens.
"""

import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import structlog
from django.db import DatabaseError, Error, connections, transaction
from prometheus_client import Counter
from psycopg.errors import InvalidSqlStatementName
from psycopg.pq import ExecStatus, TransactionStatus

from tenants.errors import ScopeError
from tenants.questions import checked, forget_all

if TYPE_CHECKING:
    from tenants.models import Tenant

SETTING = "app.tenant_id"
CURRENT_TENANT = f"(current_setting('{SETTING}'::text))::uuid"
"""The open tenant in SQL, as PostgreSQL prints it back; an error outside a scope."""
APP_ALIAS = "default"
OPS_ALIAS = "ops"
PLANS_LAST_S = 2.0
_ALONG_INDEXES = ", ".join(
    f"set_config('{name}', '{value}', true)"
    for name, value in {
        "plan_cache_mode": "force_generic_plan",
        "enable_seqscan": "off",
        "enable_hashjoin": "off",
        "enable_mergejoin": "off",
        "enable_memoize": "off",
    }.items()
)
_PLANNED_AT = "_weir_planned_at"
_COMMITTING = "_weir_committing"
OPS_SCOPES = Counter("weir_ops_scopes", "Times that tenants were crossed, by what for.", ["reason"])

_log = structlog.stdlib.get_logger("weir.scope")


class _Open:
    """What is open: a tenant's scope, an ops scope (with a reason), or, with neither, a step out of one."""

    __slots__ = ("left", "outer", "reason", "tenant_id", "thread")

    def __init__(self, tenant_id: uuid.UUID | None = None, reason: str | None = None) -> None:
        self.tenant_id, self.reason = tenant_id, reason
        self.outer = _here()
        self.thread = threading.get_ident()
        self.left = False
        _current.set(self)

    def leave(self) -> None:
        self.left = True  # for every copy of the context that knows of it
        if _current.get() is self:
            _current.set(self.outer)


_current: ContextVar[_Open | None] = ContextVar("weir_scope", default=None)


def _here() -> _Open | None:
    """The innermost scope that this thread opened and has not left."""
    scope = _current.get()
    while scope is not None and (scope.left or scope.thread != threading.get_ident()):
        scope = scope.outer
    return scope


def open_tenant_id() -> uuid.UUID | None:
    """The tenant whose scope is open here, or None."""
    scope = _here()
    return scope.tenant_id if scope else None


def ops_reason() -> str | None:
    """Why the open ops scope was opened, or None outside one."""
    scope = _here()
    return scope.reason if scope else None


def require_tenant_id() -> uuid.UUID:
    """The open tenant; raises ScopeError outside a scope."""
    tenant_id = open_tenant_id()
    if tenant_id is None:
        raise ScopeError("Tenant data was asked for outside a tenant scope: wrap the call in tenant_scope().")
    return tenant_id


def is_away(alias: str) -> bool:
    """Whether a connection that an error came from is of no use any more; it is closed then."""
    connection = connections[alias]
    connection.close_if_unusable_or_obsolete()
    return connection.connection is None


def set_tenant(cursor: Any, tenant_id: uuid.UUID | None) -> None:
    """Tell PostgreSQL, until the transaction ends, whose rows this connection may touch (None: nobody's)."""
    cursor.execute("SELECT set_config(%s, %s, true)", (SETTING, str(tenant_id) if tenant_id else ""))


def planned_ahead(wrapper: Any) -> str:
    """SQL for the message that begins a transaction: until it ends, what is prepared is planned for whatever it is sent
    with, row by row along indexes, and that plan is kept for PLANS_LAST_S.

    Not for longer: in a table that had a page when the plan was made it reads everything of the tenant's, and would do so
    when there are a million rows. PostgreSQL itself plans anew only after the next ANALYZE.
    """
    now = time.monotonic()
    if now - getattr(wrapper, _PLANNED_AT, float("-inf")) < PLANS_LAST_S:
        return f"SELECT {_ALONG_INDEXES};"
    setattr(wrapper, _PLANNED_AT, now)
    return f"DISCARD PLANS; SELECT {_ALONG_INDEXES};"


def begin_as(
    wrapper: Any, tenant_id: uuid.UUID, *, ahead: bool = False, asking: Callable[[Any], str] | None = None
) -> str | None:
    """Begin the transaction that Django has just announced, and set the tenant, in one message; with what is asked for
    in it, its one value as text, None where there is none.

    Django and psycopg would send two, and every request, claim and settlement begins like this.
    """
    wrapper.ensure_connection()
    also = planned_ahead(wrapper) if ahead else ""
    begin = f"BEGIN; {also}SELECT set_config('{SETTING}', '{tenant_id}', true); "
    if asking is None:
        _said(wrapper, begin)
        return None
    question = asking(wrapper)
    try:
        said = _said(wrapper, begin + question)
    except DatabaseError as error:
        if not isinstance(error.__cause__, InvalidSqlStatementName):
            raise
        # After a rollback psycopg has the server forget whatever it prepared.
        wrapper.connection.pgconn.exec_(b"ROLLBACK")
        forget_all(wrapper)
        said = _said(wrapper, begin + asking(wrapper))
    return _value(said) if question else None


def enter_asking(wrapper: Any, tenant_id: uuid.UUID, question: str) -> str | None:
    """Set the tenant and ask for one value in the same message, with which the transaction begins if Django has announced
    one: the value as text, None where there is no row. Opens no scope.

    `question` is SQL of ours with no parameters.
    """
    wrapper.ensure_connection()
    announced = wrapper.connection.pgconn.transaction_status == TransactionStatus.IDLE
    begin = "BEGIN; " if announced else ""
    result = _said(wrapper, f"{begin}SELECT set_config('{SETTING}', '{tenant_id}', true); {question}")
    return _value(result)


def _value(result: Any) -> str | None:
    value = result.get_value(0, 0) if result.ntuples else None
    return None if value is None else bytes(value).decode()


def _said(wrapper: Any, message: str) -> Any:
    with wrapper.wrap_database_errors:
        return checked(wrapper, wrapper.connection.pgconn.exec_(message.encode()), ExecStatus.TUPLES_OK)


def may_be_done(error: BaseException) -> bool:
    """Whether a database error came instead of the answer to a scope's commit: what was written may be there."""
    return bool(getattr(error, _COMMITTING, False))


class tenant_scope:  # noqa: N801 - read as the verb it is, like open()
    """A transaction in which exactly this tenant's rows can be read and written; `as` gives the tenant's id.

    May be nested for the same tenant (a savepoint). Raises ScopeError when another tenant's scope or an ops scope
    is open. Whatever way the block is left, nothing stays behind on the connection.

    `ahead`: with its statements `planned_ahead`, unless it is nested. `asking`: what else to ask for with the message
    that begins it, given the connection; `answer` has its one value as text, or None where there is none or it is nested.
    """

    def __init__(
        self,
        tenant: "Tenant | uuid.UUID",
        *,
        ahead: bool = False,
        asking: Callable[[Any], str] | None = None,
    ) -> None:
        self._tenant_id = tenant if isinstance(tenant, uuid.UUID) else tenant.pk
        self._ahead, self._asking = ahead, asking
        self.answer: str | None = None

    def __enter__(self) -> uuid.UUID:
        if ops_reason() is not None:
            raise ScopeError("A tenant scope cannot be opened inside an ops scope.")
        self._outer_tenant = open_tenant_id()
        if self._outer_tenant is not None and self._outer_tenant != self._tenant_id:
            raise ScopeError("Another tenant's scope is open; leave it first.")
        self._connection = connections[APP_ALIAS]
        self._nested = self._connection.in_atomic_block
        self._atomic = transaction.atomic(using=APP_ALIAS)
        self._atomic.__enter__()
        try:
            if self._nested:
                with self._connection.cursor() as cursor:
                    set_tenant(cursor, self._tenant_id)
            else:
                self.answer = begin_as(
                    self._connection, self._tenant_id, ahead=self._ahead, asking=self._asking
                )
        except BaseException:
            self._atomic.__exit__(*sys.exc_info())
            raise
        self._scope = _Open(tenant_id=self._tenant_id)
        return self._tenant_id

    def __exit__(self, *error: Any) -> None:  # noqa: PYI036 - handed on as they come
        if self._scope.left:  # drop_leftovers was here; what is open by now is somebody else's
            return
        self._scope.leave()
        if self._scope.thread != threading.get_ident():
            self._cut()
            return
        if error[0] is None and self._nested and not self._connection.needs_rollback:
            # An error rolls the savepoint back and the setting with it; a clean exit inside an outer transaction has
            # to put it back by hand.
            try:
                with self._connection.cursor() as cursor:
                    set_tenant(cursor, self._outer_tenant)
            except BaseException:
                self._atomic.__exit__(*sys.exc_info())
                raise
        if error[0] is not None or self._nested:
            self._atomic.__exit__(*error)
            return
        try:
            self._atomic.__exit__(*error)
        except Error as lost:
            setattr(lost, _COMMITTING, True)
            raise

    def _cut(self) -> None:
        """Left by the collector of another thread, whose own transaction is none of ours: end the connection alone."""
        _log.error("scope_left_in_another_thread", tenant_id=str(self._tenant_id))
        if self._connection.connection is not None:
            self._connection.connection.close()


@contextmanager
def ops_scope(reason: str) -> Iterator[None]:
    """Cross tenants, through the ops login: inside, the router sends the ORM to the `ops` alias.

    `reason` is "what for", or "what for: who" for a person's; it must not be empty. Each is counted by what for;
    whoever lets a person in writes down who it was. Opens no transaction.
    """
    if not reason.strip():
        raise ScopeError("An ops scope needs a reason.")
    if open_tenant_id() is not None:
        raise ScopeError("An ops scope cannot be opened inside a tenant scope.")
    OPS_SCOPES.labels(reason.partition(":")[0]).inc()
    scope = _Open(reason=reason)
    try:
        yield
    finally:
        scope.leave()


@contextmanager
def as_tenant_from_ops(tenant_id: uuid.UUID) -> Iterator[uuid.UUID]:
    """Step out of the open ops scope into one tenant's, for one operation; the ops scope is open again afterwards.

    Inside, everything is as for the tenant itself: the app login, its policies, its grants. Raises ScopeError outside
    an ops scope, and inside a transaction of the ops login: the two logins would wait for each other's locks, and
    what the one wrote would not be undone with the other.
    """
    if ops_reason() is None:
        raise ScopeError("There is no ops scope to step out of.")
    if connections[OPS_ALIAS].in_atomic_block:
        raise ScopeError("Leave the ops login's transaction before stepping into a tenant.")
    outside = _Open()
    try:
        with tenant_scope(tenant_id):
            yield tenant_id
    finally:
        outside.leave()


def drop_leftovers(**signal: Any) -> bool:
    """Close what earlier work of this thread left open; returns whether there was anything.

    Called between requests and between tasks. Only a block that is never left, such as one in a generator that nobody
    finishes, can leave a scope; the next piece of work must not find itself in it.
    """
    scope = _here()
    stuck = [
        connection
        for connection in connections.all(initialized_only=True)
        # A test's own transaction is not a leftover.
        if not all(block._from_testcase for block in connection.atomic_blocks)  # type: ignore[attr-defined]
    ]
    if scope is None and not stuck:
        return False
    _log.error("scope_left_open", tenant_id=str(scope and scope.tenant_id), reason=scope and scope.reason)
    while scope is not None:
        scope.leave()
        scope = _here()
    for connection in stuck:
        # As if nothing had begun; closing ends the transaction on the server.
        connection.in_atomic_block = connection.closed_in_transaction = False
        connection.savepoint_ids, connection.atomic_blocks, connection.run_on_commit = [], [], []
        with suppress(DatabaseError):
            connection.close()
    return True


class ScopeRouter:
    """Sends the ORM to the ops login inside an ops scope, to the app login everywhere else."""

    def db_for_read(self, model: type, **hints: Any) -> str:
        return OPS_ALIAS if ops_reason() is not None else APP_ALIAS

    db_for_write = db_for_read

    def allow_relation(self, obj1: Any, obj2: Any, **hints: Any) -> bool:
        return True  # both aliases are logins of one database

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool:
        return db == APP_ALIAS
