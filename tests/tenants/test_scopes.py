"""A scope is entered in one way from wherever work begins, and nothing of it is left once it is over."""

import asyncio
import gc
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from celery import shared_task
from django.apps import apps
from django.core.exceptions import SynchronousOnlyOperation
from django.core.management import CommandError, call_command
from django.core.signals import request_finished, request_started
from django.db import DatabaseError, connection, connections, transaction
from django.db import Error as AnyDatabaseError
from structlog.testing import capture_logs

from config.celery import app
from config.management.commands.shell import ops_scope as shells_ops_scope
from tenants import context
from tenants.errors import ScopeError
from tenants.management.tenant_command import TenantCommand
from tenants.models import Tenant
from tenants.scope import (
    OPS_SCOPES,
    drop_leftovers,
    enter_asking,
    open_tenant_id,
    ops_reason,
    ops_scope,
    tenant_scope,
)
from tenants.task_base import TenantTask, WeirTask
from tests.factories import make_tenant
from workflows.models import Workflow


@pytest.fixture
def mine(committed: None) -> Tenant:
    return make_tenant("Acme").tenant


@pytest.fixture
def other(committed: None) -> Tenant:
    return make_tenant("Globex").tenant


def setting() -> str:
    """What PostgreSQL was told on this thread's connection; empty when nothing."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT coalesce(current_setting('app.tenant_id', true), '')")
        return str(cursor.fetchone()[0])


def nothing_left() -> bool:
    return (open_tenant_id(), ops_reason(), connection.in_atomic_block, setting()) == (None, None, False, "")


def in_thread(work: Callable[[], Any]) -> Any:
    """Run on a thread of its own, connections closed afterwards."""

    def run() -> Any:
        try:
            return work()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(run).result()


# --- Leaving ---------------------------------------------------------------------------------------------------------


class Boom(BaseException):
    """Not an Exception, as the ends of threads and of generators are not."""


def fail() -> None:
    raise Boom


def ask_nonsense() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT nonsense")


def break_and_carry_on() -> None:
    with pytest.raises(DatabaseError):
        ask_nonsense()


def lose_the_connection() -> None:
    with connections["ops"].cursor() as cursor, connection.cursor() as mine:
        mine.execute("SELECT pg_backend_pid()")
        with pytest.raises(DatabaseError):
            cursor.execute("SELECT pg_terminate_backend(%s)", [mine.fetchone()[0]])
    connection.connection.close()
    ask_nonsense()


def roll_back_a_savepoint() -> None:
    with suppress(Boom), transaction.atomic():
        set_another_tenant()
        raise Boom


def set_another_tenant() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('app.tenant_id', gen_random_uuid()::text, true)")


@pytest.mark.parametrize(
    "body",
    [
        lambda: None, fail, ask_nonsense, break_and_carry_on, lose_the_connection, roll_back_a_savepoint,
        set_another_tenant, lambda: transaction.set_rollback(True),
    ],
)  # fmt: skip
@pytest.mark.parametrize("around", ["nothing", "a transaction", "the same scope"])
def test_nothing_is_left_whatever_happens_inside(mine: Tenant, body: Callable[[], None], around: str) -> None:
    def enter() -> None:
        with tenant_scope(mine):
            body()

    try:
        if around == "nothing":
            enter()
        else:
            with transaction.atomic() if around == "a transaction" else tenant_scope(mine):
                enter()
                assert setting() == ("" if around == "a transaction" else str(mine.pk))
    except (Boom, AnyDatabaseError, transaction.TransactionManagementError):
        connection.close_if_unusable_or_obsolete()
    assert nothing_left()


def test_a_failing_entrance_leaves_nothing(mine: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as broken:
        broken.setattr("tenants.scope.begin_as", lambda *_, **__: fail())
        with pytest.raises(Boom), tenant_scope(mine):
            pytest.fail("entered")
    assert nothing_left()
    with monkeypatch.context() as broken:
        broken.setattr("tenants.scope.SETTING", "no setting")
        with pytest.raises(AnyDatabaseError), tenant_scope(mine):
            pytest.fail("entered")
    assert nothing_left()
    with tenant_scope(mine):
        monkeypatch.setattr("tenants.scope.set_tenant", lambda *_: fail())
        with pytest.raises(Boom), tenant_scope(mine):
            pytest.fail("entered")
    assert nothing_left()


def test_hooks_after_commit_are_in_no_scope_and_may_open_their_own(mine: Tenant, other: Tenant) -> None:
    seen: list[Any] = []

    def hook() -> None:
        seen.append(nothing_left())
        with tenant_scope(other):
            seen.append(Workflow.objects.values_list("tenant_id", flat=True)[0])

    with tenant_scope(mine):
        with tenant_scope(mine):
            transaction.on_commit(hook)
        assert seen == []
    assert seen == [True, other.pk]
    assert nothing_left()


def test_a_failing_hook_leaves_nothing(mine: Tenant) -> None:
    with pytest.raises(Boom), tenant_scope(mine):
        transaction.on_commit(fail)
    assert nothing_left()


# --- Generators ------------------------------------------------------------------------------------------------------


def slow(tenant: Tenant) -> Iterator[str]:
    """What one should not write: a scope that is open between two pieces of a stream."""
    with tenant_scope(tenant):
        yield Workflow.objects.order_by("slug")[0].slug
        yield "never"


def test_an_unfinished_generator_keeps_others_out_and_leaves_nothing_when_closed(
    mine: Tenant, other: Tenant
) -> None:
    stream = slow(mine)
    next(stream)
    with pytest.raises(ScopeError), tenant_scope(other):
        pass
    stream.close()
    assert nothing_left()


def test_a_scope_left_open_ends_before_the_next_request(mine: Tenant, other: Tenant) -> None:
    for boundary in (request_started, request_finished):
        stream = slow(mine)
        next(stream)
        with capture_logs() as logs:
            boundary.send(sender=None, environ={})
        assert [line["event"] for line in logs] == ["scope_left_open"]
        assert nothing_left()
        # The next request's scope is not ended by what is collected late.
        with tenant_scope(other):
            stream.close()
            assert setting() == str(other.pk)
            assert Workflow.objects.count() == 2
        assert nothing_left()


def test_a_request_that_leaves_nothing_is_left_alone(mine: Tenant) -> None:
    assert drop_leftovers() is False


def test_a_generator_collected_by_another_thread_does_not_touch_that_threads_scope(
    mine: Tenant, other: Tenant
) -> None:
    held = []
    sockets: list[Any] = []

    def start() -> None:
        stream = slow(mine)
        next(stream)
        held.append(stream)
        sockets.append(connection.connection)

    owner = ThreadPoolExecutor(1)
    owner.submit(start).result()
    with tenant_scope(other), capture_logs() as logs:
        held.clear()
        gc.collect()
        # Its transaction ends with its connection: nothing can be done in it from here.
        assert sockets[0].closed
        told = {"event": "scope_left_in_another_thread", "tenant_id": str(mine.pk), "log_level": "error"}
        assert logs == [told]
        assert setting() == str(other.pk)
        assert set(Workflow.objects.values_list("tenant_id", flat=True)) == {other.pk}
    assert nothing_left()
    # The thread that had opened it is clean as well, once it starts on something else.
    owner.submit(drop_leftovers).result()
    assert owner.submit(nothing_left).result()
    owner.submit(connections.close_all).result()
    owner.shutdown()


# --- Threads and asyncio ---------------------------------------------------------------------------------------------


def test_a_scope_is_not_in_other_threads_even_with_a_copied_context(mine: Tenant, other: Tenant) -> None:
    def look() -> tuple[Any, ...]:
        with pytest.raises(ScopeError):
            Workflow.objects.count()
        with tenant_scope(other):
            seen = set(Workflow.objects.values_list("tenant_id", flat=True))
        return open_tenant_id(), ops_reason(), seen

    with tenant_scope(mine):
        copied = copy_context()
        assert in_thread(look) == (None, None, {other.pk})
        assert in_thread(lambda: copied.run(look)) == (None, None, {other.pk})
        assert open_tenant_id() == mine.pk
    with ops_scope("test"):
        copied = copy_context()
        assert in_thread(lambda: copied.run(look)) == (None, None, {other.pk})


def test_a_copied_context_does_not_keep_a_scope_that_was_left(mine: Tenant) -> None:
    with tenant_scope(mine):
        copied = copy_context()
    assert copied.run(nothing_left)
    with ops_scope("test"):
        copied = copy_context()
    assert copied.run(nothing_left)
    with pytest.raises(ScopeError):
        copied.run(Workflow.objects.count)


def test_tasks_of_one_loop_do_not_see_each_others_scopes(mine: Tenant, other: Tenant) -> None:
    def read(tenant: Tenant) -> set[Any]:
        try:
            with tenant_scope(tenant):
                return set(Workflow.objects.values_list("tenant_id", flat=True))
        finally:
            connections.close_all()

    async def ask(tenant: Tenant) -> set[Any]:
        return await sync_to_async(read, thread_sensitive=False)(tenant)

    async def main() -> None:
        answers = await asyncio.gather(*(ask(tenant) for tenant in [mine, other] * 5))
        assert answers == [{mine.pk}, {other.pk}] * 5
        with pytest.raises(SynchronousOnlyOperation), tenant_scope(mine):
            pass
        with ops_scope("test"):
            later = asyncio.create_task(asyncio.sleep(0.01, result=None))
            copied = asyncio.create_task(late())
        assert await copied is None
        await later

    async def late() -> str | None:
        await asyncio.sleep(0.01)
        return ops_reason()

    asyncio.run(main())
    assert nothing_left()


# --- Tasks, commands, shell ------------------------------------------------------------------------------------------


@shared_task(name="tests.scoped", base=TenantTask)
def scoped(tenant_id: str, behaviour: str = "") -> list[Any]:
    found: list[Any] = [
        open_tenant_id(),
        context.current().tenant_id,
        context.current().actor,
        Workflow.objects.count(),
    ]
    context.update(actor="somebody")
    if behaviour:
        raise Boom
    return found


@shared_task(name="tests.in_pieces", base=TenantTask, in_scope=False)
def in_pieces(tenant_id: str) -> list[Any]:
    return [open_tenant_id(), str(context.current().tenant_id)]


@shared_task(name="tests.forgetful")
def forgetful(tenant_id: str) -> str:
    stream = slow(Tenant(pk=uuid.UUID(tenant_id)))
    held.append(stream)
    return next(stream)


held: list[Any] = []


def test_a_tenants_task_runs_in_its_scope_and_ends_with_nothing(mine: Tenant) -> None:
    before = context.current()
    assert scoped(str(mine.pk)) == [mine.pk, mine.pk, "system:tests.scoped", 2]
    assert in_pieces(str(mine.pk)) == [None, str(mine.pk)]
    assert scoped(tenant_id=str(mine.pk))[0] == mine.pk
    with pytest.raises(Boom):
        scoped(str(mine.pk), "fail")
    assert context.current() == before
    assert nothing_left()


def test_what_a_task_left_open_ends_with_it(mine: Tenant) -> None:
    with capture_logs() as logs:
        forgetful(str(mine.pk))
    assert "scope_left_open" in [line["event"] for line in logs]
    assert nothing_left()
    held.clear()
    assert nothing_left()


def test_every_task_of_ours_has_a_base_of_ours_and_says_whose_it_is() -> None:
    app.autodiscover_tasks([config.name for config in apps.get_app_configs()], force=True)
    ours = {name: task for name, task in app.tasks.items() if not name.startswith(("celery.", "tests."))}
    assert ours
    for name, task in ours.items():
        assert isinstance(task, WeirTask), f"{name} is not based on WeirTask"
        takes_tenant = "tenant_id" in task.run.__code__.co_varnames[: task.run.__code__.co_argcount]
        assert isinstance(task, TenantTask) == takes_tenant, f"{name}: a task for one tenant is a TenantTask"


class Count(TenantCommand):
    def handle_tenant(self, tenant: Tenant, **options: Any) -> str:
        assert context.current().actor.startswith("system:")
        return f"{tenant.name} {Workflow.objects.count()}"


def test_a_tenants_command_runs_in_its_scope(mine: Tenant) -> None:
    assert call_command(Count(), tenant=mine.pk) == "Acme 2"
    assert nothing_left()
    with pytest.raises(CommandError, match="no tenant"):
        call_command(Count(), "--tenant", "00000000-0000-0000-0000-000000000001")
    with pytest.raises(CommandError, match="invalid UUID"):
        call_command(Count(), "--tenant", "acme")
    assert nothing_left()


def test_the_shell_has_the_scopes_and_names_who_used_them(mine: Tenant, capsys: Any) -> None:
    code = f"""
with tenant_scope(__import__('uuid').UUID('{mine.pk}')): print(Workflow.objects.count())
with ops_scope('looking'): print(ops_scope.__module__)
"""
    with capture_logs() as logs:
        call_command("shell", command=code, verbosity=0)
    assert capsys.readouterr().out.split() == ["2", "config.management.commands.shell"]
    (line,) = [entry for entry in logs if entry["event"] == "ops_scope"]
    assert line["reason"] == "looking"
    assert line["actor"].startswith("shell:")


# --- Ops scopes ------------------------------------------------------------------------------------------------------


def counted(reason: str) -> float:
    return float(OPS_SCOPES.labels(reason)._value.get())


def test_each_ops_scope_is_counted_by_what_for_and_not_by_whom(db: None) -> None:
    before = counted("sweep"), counted("ops console"), counted("shell")
    with ops_scope("sweep"):
        pass
    for person in ("ann@example", "bob@example"):
        with ops_scope(f"ops console: {person}"):
            pass
    with shells_ops_scope("why"):
        pass
    assert (counted("sweep"), counted("ops console"), counted("shell")) == tuple(
        number + more for number, more in zip(before, (1, 2, 1), strict=True)
    )


def test_an_ops_scope_needs_a_reason_and_ends_by_exception_too() -> None:
    with pytest.raises(ScopeError), ops_scope("  "):
        pass
    with pytest.raises(Boom), ops_scope("test"):
        raise Boom
    assert ops_reason() is None


class TestEnterAsking:
    """The tenant and a question in one message, with the transaction's begin where Django has announced one."""

    OWN = "SELECT id FROM workflow WHERE slug = 'email-waterfall'"

    def test_it_begins_the_transaction_and_sees_one_tenants_rows(self, mine: Tenant):
        yours = make_tenant("Beta").tenant
        with tenant_scope(mine):
            expected = str(Workflow.objects.get(slug="email-waterfall").pk)
        connection.close()  # a connection that is not there yet is opened
        with transaction.atomic():
            assert enter_asking(connection, mine.pk, self.OWN) == expected
            assert connection.connection.info.transaction_status.name == "INTRANS"
            assert enter_asking(connection, yours.pk, self.OWN) not in (expected, None)
        with connection.cursor() as cursor:
            cursor.execute("SELECT coalesce(current_setting('app.tenant_id', true), '')")
            assert cursor.fetchone() == ("",)

    def test_what_it_began_is_undone_with_the_block(self, mine: Tenant):
        change = f"UPDATE workflow SET name = 'Changed' WHERE tenant_id = '{mine.pk}' RETURNING name"
        with suppress(ZeroDivisionError), transaction.atomic():
            assert enter_asking(connection, mine.pk, change) == "Changed"
            raise ZeroDivisionError
        with tenant_scope(mine):
            assert not Workflow.objects.filter(name="Changed").exists()

    def test_no_row_and_null_are_none(self, mine: Tenant):
        with transaction.atomic():
            assert enter_asking(connection, mine.pk, "SELECT 1 WHERE false") is None
            assert enter_asking(connection, mine.pk, "SELECT NULL") is None

    def test_an_error_is_one_of_djangos(self, mine: Tenant):
        with pytest.raises(DatabaseError, match="division by zero"), transaction.atomic():
            enter_asking(connection, mine.pk, "SELECT 1 / 0")
        assert connection.connection.info.transaction_status.name == "IDLE"
