"""A holder that falls silent in the middle of a transaction, and in the middle of a message of it, locks nobody out."""

import os
import socket
import threading
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.db import Error as DatabaseError
from django.db import OperationalError, connection, connections

from tenants.models import Tenant
from tenants.scope import SETTING, tenant_scope
from tests.factories import make_tenant
from workflows.lanes import abreast, claim, hurry, settle
from workflows.lanes.claim import Wanted
from workflows.lanes.salvage import is_away
from workflows.lanes.work import Batch

pytestmark = pytest.mark.django_db(transaction=True)


def flushed(tenant_id: uuid.UUID) -> None:
    settle.flush(Batch(starts=[(tenant_id, uuid.uuid4(), "{}")]), uuid.uuid4())


def flushed_beside_an_erased_one(tenant_id: uuid.UUID) -> None:
    starts = [(one, uuid.uuid4(), "{}") for one in (uuid.UUID(int=1), tenant_id)]
    settle.flush(Batch(starts=starts), uuid.uuid4())


def claimed(tenant_id: uuid.UUID) -> None:
    claim.claim_all([Wanted(tenant_id, uuid.uuid4(), "prospeo", [], [])])


BEGUN_BY = pytest.mark.parametrize(
    ("module", "begin"),
    [(settle, flushed), (settle, flushed_beside_an_erased_one), (claim, claimed)],
    ids=["flush", "flush beside an erased tenant", "claim"],
)


@BEGUN_BY
@pytest.mark.parametrize("in_message", [True, False], ids=["in a message", "after one"])
def test_what_the_silent_one_had_locked_is_free_in_time(
    committed: None,
    monkeypatch: pytest.MonkeyPatch,
    module: Any,
    begin: Callable[[uuid.UUID], None],
    in_message: bool,
) -> None:
    tenant = make_tenant().tenant
    for limit in ("WHOLE", "READING"):
        monkeypatch.setattr(hurry, limit, "300ms" if in_message else "0")
    monkeypatch.setattr(hurry, "STALLED", "300ms")
    others: list[Any] = []

    def falls_silent(wrapper: Any, shares: Any, **options: Any) -> None:
        wrapper.connection.execute(f"SELECT set_config('{SETTING}', '{tenant.pk}', true)")
        update = b"UPDATE tenants_tenant SET retention_days = 501"
        if in_message:
            server = wrapper.connection.pgconn
            server.enter_pipeline_mode()
            server.send_query_params(update, [])
            server.flush()
        else:
            wrapper.connection.execute(update)
        other = threading.Thread(target=lambda: others.append(somebody_else_writes(tenant)))
        other.start()
        other.join(10)
        raise DatabaseError("never again")

    monkeypatch.setattr(module, "write_abreast", falls_silent)
    try:
        with pytest.raises(DatabaseError, match="never again"):
            begin(tenant.pk)
    finally:
        connection.close()
    assert others == [1]


def test_a_flush_that_is_written_again_may_take_its_time(
    committed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else one that takes longer than its time would never be written."""
    tenant = make_tenant().tenant
    monkeypatch.setattr(hurry, "WHOLE", "200ms")
    write, begun = settle._TenantFlush.write, []

    def slowly(self: settle._TenantFlush, part: Batch) -> None:
        begun.append(part.retried)
        self.cursor.execute("SELECT pg_sleep(0.4)")
        write(self, part)

    monkeypatch.setattr(settle._TenantFlush, "write", slowly)
    batch = Batch(starts=[(tenant.pk, uuid.uuid4(), "{}")])
    with pytest.raises(OperationalError) as raised:
        settle.flush(batch, uuid.uuid4())
    connection.close()
    assert is_away(raised.value)
    batch.retried = True
    settle.flush(batch, uuid.uuid4())
    assert begun == [False, True]


def test_a_connection_that_is_gone_is_no_fault_of_the_statement(committed: None) -> None:
    tenant = make_tenant().tenant
    with tenant_scope(tenant.pk):
        pass
    with socket.socket(fileno=os.dup(connection.connection.fileno())) as line:
        line.shutdown(socket.SHUT_RDWR)
    with pytest.raises(OperationalError) as raised, tenant_scope(tenant.pk):
        pass
    connection.close()
    assert is_away(raised.value)


def somebody_else_writes(tenant: Tenant) -> Any:
    """How many rows it wrote, or what kept it from that."""
    try:
        with tenant_scope(tenant.pk), connection.cursor() as cursor:
            cursor.execute("SET LOCAL lock_timeout = '4s'")
            cursor.execute("UPDATE tenants_tenant SET retention_days = 502")
            return cursor.rowcount
    except DatabaseError as error:
        return error
    finally:
        connections.close_all()


def test_to_a_server_that_ends_no_transaction_nothing_is_sent_in_a_pipeline(
    committed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant = make_tenant().tenant
    connection.ensure_connection()
    monkeypatch.setattr(hurry, "TRANSACTIONS_END_FROM", connection.connection.info.server_version + 1)
    monkeypatch.setattr(abreast, "exchange", lambda *_: pytest.fail("a pipeline"))
    claimed(tenant.pk)
