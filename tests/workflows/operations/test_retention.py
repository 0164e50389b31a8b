"""What is past its tenant's retention is deleted, what is not stays, and the step history's partitions follow."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any

import psycopg
import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import DataError, InternalError, ProgrammingError, connections
from django.db.models import F
from django.utils import timezone
from structlog.testing import capture_logs

from billing.models import UsageEvent
from integrations.models import WebhookAttempt, WebhookDelivery, WebhookMessage
from integrations.webhooks import operations
from tenants import roles
from tenants.catalogue import relations
from tenants.events import emit
from tenants.ids import uuid7
from tenants.models import Tenant
from tenants.rls import SEARCH_PATH, Isolated
from tenants.scope import ops_scope, tenant_scope
from tenants.verdicts import access_faults
from tests.factories import ACTOR, connect_all, make_run
from workflows.apps import ensure_partitions
from workflows.lanes import book, partitions
from workflows.lanes.partitions import first_id_of, months
from workflows.models import (
    AmbiguousCall,
    Callback,
    IdempotencyKey,
    Lookup,
    Record,
    Run,
    RunEvent,
    Step,
    StepQueue,
    Upload,
)
from workflows.operations import retention
from workflows.operations.retention import purge


def owner() -> psycopg.Connection:
    return psycopg.connect(os.environ["DATABASE_OWNER_URL"], autocommit=True)


def ended(tenant: Tenant, days_ago: float, records: int = 3) -> Run:
    """A run that ended so long ago, with a step for each record."""
    run = make_run(tenant, records)
    with tenant_scope(tenant), connections["default"].cursor() as cursor:
        history: list[tuple[Any, ...]] = [
            (uuid7(), None, run.pk, record.pk, uuid7(), "find", "prospeo", 1, "done", "hit", "",
             '{"email": "ada@engines.example"}', 200, 5, 1000, None, None, None)
            for record in Record.objects.filter(run_id=run.pk)
        ]  # fmt: skip
        book.write_history(cursor, tenant.pk, history)
        StepQueue.objects.filter(run_id=run.pk).delete()
        Record.objects.filter(run_id=run.pk).update(status="found", finished_at=timezone.now())
        when = timezone.now() - timedelta(days=days_ago)
        Run.objects.filter(pk=run.pk).update(
            status="completed", pending=0, queued=0, found=records, finished_at=when, created_at=when
        )
        RunEvent.objects.create(run=run, record_id=history[0][3], kind="record.retried", actor=ACTOR)
    return run


def left(run: Run) -> tuple[int, int]:
    """(records, steps)"""
    with tenant_scope(run.tenant_id):
        return Record.objects.filter(run_id=run.pk).count(), Step.objects.filter(run_id=run.pk).count()


@pytest.fixture
def ready(committed: None, tenant: Tenant) -> Tenant:
    connect_all(tenant)
    return tenant


def test_a_runs_records_and_steps_go_after_the_tenants_retention_and_its_counts_and_costs_stay(
    ready: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "CHUNK", 2)
    old, young = ended(ready, 91), ended(ready, 89)
    gone = purge()
    assert (gone["records"], gone["runs"]) == (3, 1)
    assert (left(old), left(young)) == ((0, 0), (3, 3))
    with tenant_scope(ready):
        old.refresh_from_db()
        assert (old.purged_at is not None, old.total, old.found) == (True, 3, 3)
        assert UsageEvent.objects.filter(run_id=old.pk, kind="record").count() == 3
        assert not RunEvent.objects.filter(run_id=old.pk).exclude(record_id=None).exists()
        assert RunEvent.objects.filter(run_id=old.pk).exists()
    assert purge()["runs"] == 0


def test_the_address_of_a_call_in_doubt_goes_with_its_record_and_its_cost_stays(ready: Tenant) -> None:
    old, young = ended(ready, 91), ended(ready, 89)
    with tenant_scope(ready):
        for run in (old, young):
            record = Record.objects.filter(run=run).first()
            assert record is not None
            AmbiguousCall.objects.create(
                lane_id=uuid7(), run_id=run.pk, record_id=record.pk, queue_id=uuid7(), attempt=1, provider="zerobounce",
                operation="verify", fingerprint="f", email="ada@firm.example", livemode=True, may_cost=1_000,
                repeat_is_free=False, month="2026-01-01", status="open",
            )  # fmt: skip
    purge()
    with tenant_scope(ready):
        left_of = {call.run_id: (call.email, call.may_cost) for call in AmbiguousCall.objects.all()}
    assert left_of == {old.pk: ("", 1_000), young.pk: ("ada@firm.example", 1_000)}


def test_each_tenant_has_a_retention_of_its_own(ready: Tenant, other_tenant: Tenant) -> None:
    connect_all(other_tenant)
    with ops_scope("test"):
        Tenant.objects.filter(pk=other_tenant.pk).update(retention_days=7)
    mine, theirs = ended(ready, 30), ended(other_tenant, 30)
    purge()
    assert (left(mine), left(theirs)) == ((3, 3), (0, 0))


def test_a_run_that_is_under_way_is_kept_however_old(ready: Tenant) -> None:
    run = ended(ready, 400)
    with tenant_scope(ready):
        Run.objects.filter(pk=run.pk).update(finished_at=None, status="paused")
    purge()
    assert left(run) == (3, 3)


def test_nobody_purges_a_run_before_its_time(ready: Tenant, other_tenant: Tenant) -> None:
    run, old = ended(ready, 89), ended(ready, 91)
    for tenant_id, run_id in ((ready.pk, run.pk), (other_tenant.pk, old.pk)):
        with (
            pytest.raises((ProgrammingError, InternalError), match="not past its retention"),
            ops_scope("test"),
            connections["ops"].cursor() as cursor,
        ):
            cursor.execute("SELECT public.weir_purge_run(%s, %s, 10)", [tenant_id, run_id])
    with (
        pytest.raises(ProgrammingError, match="permission denied"),
        tenant_scope(ready),
        connections["default"].cursor() as cursor,
    ):
        cursor.execute("SELECT public.weir_purge_run(%s, %s, 10)", [ready.pk, old.pk])


def test_a_file_goes_when_all_that_was_read_from_it_has_gone(ready: Tenant) -> None:
    run = ended(ready, 89)
    name = default_storage.save(f"{ready.pk}/old.csv", ContentFile(b"email\nada@engines.example\n"))
    with tenant_scope(ready):
        upload = Upload.objects.create(
            filename="old.csv", stored_as=name, size=9, dialect={}, rows=1, created_by=ACTOR,
            sample=[{"email": "ada@engines.example"}], created_at=timezone.now() - timedelta(days=100),
        )  # fmt: skip
        Run.objects.filter(pk=run.pk).update(upload=upload)
    assert purge()["uploads"] == 0
    assert default_storage.exists(name)
    with tenant_scope(ready):
        Run.objects.filter(pk=run.pk).update(finished_at=F("finished_at") - timedelta(days=2))
    assert purge()["uploads"] == 1
    assert not default_storage.exists(name)
    with tenant_scope(ready):
        upload.refresh_from_db()
        assert (upload.purged_at is not None, upload.sample) == (True, [])


def test_answered_requests_go_after_a_day_and_kept_answers_after_the_retention(ready: Tenant) -> None:
    now, run = timezone.now(), make_run(ready, 1)
    with tenant_scope(ready):
        record = Record.objects.get(run_id=run.pk)
        for key, hours in (("young", 23), ("old", 25)):
            IdempotencyKey.objects.create(key=key, body_hash=b"1", created_at=now - timedelta(hours=hours))
        for print_, outcome, days in (("a", "hit", 91), ("b", "hit", 89), ("c", "", 91)):
            Lookup.objects.create(
                provider="prospeo", fingerprint=print_, leader=uuid7(), outcome=outcome,
                answered_at=now - timedelta(days=days),
            )  # fmt: skip
        for state, days in (("read", 91), ("read", 89), ("new", 91)):
            Callback.objects.create(
                entry_id=uuid7(), record_id=record.pk, attempt=1, digest=state, body=b"", state=state,
                received_at=now - timedelta(days=days),
            )  # fmt: skip
    purge()
    with tenant_scope(ready):
        assert list(IdempotencyKey.objects.values_list("key", flat=True)) == ["young"]
        assert set(Lookup.objects.values_list("fingerprint", flat=True)) == {"b", "c"}
        assert Callback.objects.count() == 2


def test_a_missing_partition_is_made_as_a_migrate_makes_it(ready: Tenant) -> None:
    *_, (last, _) = months(timezone.now(), 12)
    name = f"step_{last:%Y_%m}"
    with owner() as connection:
        connection.execute(f"DROP TABLE {name}")
    assert purge()["partitions_made"] == 1
    assert purge()["partitions_made"] == 0
    with connections["default"].cursor() as cursor:
        found = relations(cursor, [name, "step_default"])
        assert not list(access_faults(Isolated(name, "partition"), found[name]))
        cursor.execute(
            """SELECT c.relname, pg_get_expr(c.relpartbound, c.oid) FROM pg_class c WHERE c.relname = %s""",
            [name],
        )
        assert str(first_id_of(last)) in cursor.fetchone()[1]


def test_a_partition_is_dropped_when_every_tenants_retention_allows(
    ready: Tenant, other_tenant: Tenant
) -> None:
    connect_all(other_tenant)
    long_ago = (timezone.now() - timedelta(days=400)).replace(day=1)
    (first, following), *_ = months(long_ago, 1)
    name = f"step_{first:%Y_%m}"

    def there() -> bool:
        with connections["default"].cursor() as cursor:
            cursor.execute("SELECT to_regclass(%s) IS NOT NULL", [f"public.{name}"])
            return bool(cursor.fetchone()[0])

    with owner() as connection:
        connection.execute(
            f"CREATE TABLE {name} PARTITION OF step "
            f"FOR VALUES FROM ('{first_id_of(first)}') TO ('{first_id_of(following)}')"
        )
    mine, theirs = ended(ready, 399), ended(other_tenant, 399)
    with ops_scope("test"):
        Tenant.objects.filter(pk=other_tenant.pk).update(retention_days=1000)
        Run.objects.filter(pk__in=[mine.pk, theirs.pk]).update(created_at=first)
    assert purge()["partitions_dropped"] == 0
    assert there()
    with ops_scope("test"):
        Tenant.objects.filter(pk=other_tenant.pk).update(retention_days=90)
    assert purge()["partitions_dropped"] == 1
    assert not there()


def stray(tenant: Tenant, moment: datetime) -> None:
    """A row of the step history that says it is of another time, as from a worker whose clock is wrong."""
    with tenant_scope(tenant), connections["default"].cursor() as cursor:
        history: list[tuple[Any, ...]] = [
            (first_id_of(moment), None, uuid7(), uuid7(), uuid7(), "find", "prospeo", 1, "done", "hit", "",
             None, 200, 5, 1000, None, None, None)
        ]  # fmt: skip
        book.write_history(cursor, tenant.pk, history)


@pytest.fixture
def far_month(committed: None) -> Iterator[tuple[str, datetime]]:
    """The last of the coming months, without its partition."""
    *_, (last, _) = months(timezone.now(), 12)
    name = f"step_{last:%Y_%m}"
    with owner() as connection:
        connection.execute(f"DROP TABLE {name}")
    yield name, last + timedelta(days=3)
    with owner() as connection:
        connection.execute("DELETE FROM step_default")
        connection.execute("SELECT public.weir_make_step_partitions(12)")


def where_it_is(tenant: Tenant) -> list[str]:
    with tenant_scope(tenant), connections["default"].cursor() as cursor:
        cursor.execute("SELECT tableoid::regclass::text FROM step")
        return [row[0] for row in cursor.fetchall()]


def test_rows_of_a_month_without_partition_move_into_it(
    ready: Tenant, far_month: tuple[str, datetime]
) -> None:
    name, moment = far_month
    stray(ready, moment)
    assert where_it_is(ready) == ["step_default"]
    assert purge()["partitions_made"] == 1
    assert where_it_is(ready) == [name]
    with connections["default"].cursor() as cursor:
        found = relations(cursor, [name])
        assert not list(access_faults(Isolated(name, "partition"), found[name]))


def test_a_migrate_makes_them_too(ready: Tenant, far_month: tuple[str, datetime]) -> None:
    name, moment = far_month
    stray(ready, moment)
    with owner() as connection, connection.cursor() as cursor:
        assert partitions.ensure(cursor) == [name]
    assert where_it_is(ready) == [name]


def test_one_month_that_cannot_be_made_holds_no_other_up_and_no_migrate(
    ready: Tenant, far_month: tuple[str, datetime]
) -> None:
    *_, (before, _), _ = months(timezone.now(), 12)
    name, _moment = far_month
    with owner() as connection:
        connection.execute(f"DROP TABLE step_{before:%Y_%m}")
        # Part of the month is taken.
        connection.execute(
            f"CREATE TABLE step_taken PARTITION OF step FOR VALUES FROM ('{first_id_of(before)}') "
            f"TO ('{first_id_of(before + timedelta(days=1))}')"
        )
        try:
            with connection.cursor() as cursor:
                assert partitions.ensure(cursor) == [name]
        finally:
            connection.execute("DROP TABLE step_taken")


def test_a_migrate_goes_on_without_partitions(committed: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(cursor: Any) -> list[str]:
        cursor.execute("SELECT 1 / 0")
        return []

    monkeypatch.setattr(partitions, "ensure", fails)
    monkeypatch.setattr(roles, "OWNER", roles.APP)  # whoever signs in here
    ensure_partitions(using="default")
    assert connections["default"].is_usable()


def test_rows_outside_every_partition_are_told(ready: Tenant) -> None:
    assert purge()["steps_out_of_time"] == 0
    stray(ready, timezone.now() + timedelta(days=3 * 366))
    stray(ready, datetime(2001, 1, 1, tzinfo=UTC))
    with capture_logs() as logs:
        assert purge()["steps_out_of_time"] == 2
    assert [entry["log_level"] for entry in logs if entry["event"] == "steps_out_of_time"] == ["error"]


def test_one_file_that_cannot_be_deleted_holds_no_other_up(
    ready: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tenant_scope(ready):
        for number in range(3):
            Upload.objects.create(
                filename="old.csv", stored_as=f"{ready.pk}/{number}.csv", size=9, dialect={}, rows=1,
                created_by=ACTOR, created_at=timezone.now() - timedelta(days=100 - number),
            )  # fmt: skip

    def delete(name: str) -> None:
        if name.endswith("0.csv"):
            raise OSError("the storage says no")

    monkeypatch.setattr(retention.default_storage, "delete", delete)
    assert purge()["uploads"] == 2
    with tenant_scope(ready):
        assert [u.stored_as[-5:] for u in Upload.objects.filter(purged_at=None)] == ["0.csv"]


def test_one_run_that_cannot_be_purged_holds_no_other_up(
    ready: Tenant, other_tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect_all(other_tenant)
    broken, sound = ended(ready, 100), ended(other_tenant, 95)
    real = retention._purge_run

    def purge_run(tenant_id: Any, run_id: Any) -> int:
        if run_id == broken.pk:
            raise DataError("interval out of range")
        return real(tenant_id, run_id)

    monkeypatch.setattr(retention, "_purge_run", purge_run)
    purge()
    assert (left(broken), left(sound)) == ((3, 3), (0, 0))


def test_posts_whose_record_or_tenant_is_gone_go_after_the_retention(ready: Tenant) -> None:
    run, nobody = make_run(ready, 1), uuid7()
    with tenant_scope(ready):
        record = Record.objects.get(run_id=run.pk)
        for record_id, days in ((record.pk, 91), (uuid7(), 91), (uuid7(), 89)):
            Callback.objects.create(
                entry_id=uuid7(), record_id=record_id, attempt=1, digest="x", body=b"", state="new",
                received_at=timezone.now() - timedelta(days=days),
            )  # fmt: skip
    with tenant_scope(nobody):
        Callback.objects.create(
            tenant_id=nobody,
            entry_id=uuid7(),
            record_id=uuid7(),
            attempt=1,
            digest="x",
            body=b"",
            state="new",
        )
    purge()
    with tenant_scope(ready):
        assert Callback.objects.count() == 2
    with tenant_scope(nobody):
        assert not Callback.objects.exists()


def test_functions_of_a_database_that_was_made_earlier_look_names_up_in_our_order(committed: None) -> None:
    paths = import_module("workflows.migrations.0014_partitions_past_strays")
    names = ["weir_drop_step_partitions", "weir_make_step_partitions", "weir_purge_run"]
    with psycopg.connect(os.environ["DATABASE_OWNER_URL"]) as connection:
        for name in ("weir_purge_run(uuid, uuid, integer)", "weir_drop_step_partitions()"):
            connection.execute(f"ALTER FUNCTION public.{name} SET search_path = pg_catalog, public")
        connection.execute(paths.PATHS)
        found = connection.execute(
            "SELECT proname, proconfig[1] FROM pg_proc WHERE proname = ANY(%s) ORDER BY proname", [names]
        ).fetchall()
        connection.rollback()
    assert {name for name, _ in found} == set(names)
    assert {path for _, path in found} == {f"search_path={SEARCH_PATH}"}


def test_webhooks_go_after_thirty_days_with_all_that_hangs_on_them(tenant: Tenant, committed: None) -> None:
    with tenant_scope(tenant):
        operations.create_endpoint(url="https://8.8.8.8/", actor=ACTOR)
        for number in range(3):
            emit("plan.changed", {"number": number})
        old, middle, new = WebhookMessage.objects.order_by("id")
        for message, days in ((old, 31), (middle, 8)):
            WebhookMessage.objects.filter(pk=message.pk).update(
                created_at=timezone.now() - timedelta(days=days)
            )
        WebhookAttempt.objects.create(
            delivery=WebhookDelivery.objects.get(message=old),
            number=1,
            started_at=timezone.now(),
            latency_ms=1,
        )
    assert purge()["integrations_webhookmessage"] == 1
    with tenant_scope(tenant):
        assert set(WebhookDelivery.objects.values_list("message_id", flat=True)) == {middle.pk, new.pk}
        assert not WebhookAttempt.objects.exists()
        Tenant.objects.filter(pk=tenant.pk).update(retention_days=7)
    assert purge()["integrations_webhookmessage"] == 1
    with tenant_scope(tenant):
        assert WebhookDelivery.objects.get().message_id == new.pk
