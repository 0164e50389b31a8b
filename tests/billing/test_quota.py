"""The month's records: exact whoever accepts at once, counted as the ledger has them, in the month of the transaction."""

import os
import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Unpack

import psycopg
import pytest
from django.db import connections
from django.utils import timezone

from billing import limits, quota
from billing.errors import QuotaExceeded
from billing.models import UsageCounter, UsageEvent
from billing.operations.plans import OverriddenLimits, change_plan, override_plan
from tenants.models import Tenant
from tenants.scope import tenant_scope
from tests.factories import ACTOR, connect_all, make_run, make_tenant

pytestmark = pytest.mark.usefixtures("committed")


@pytest.fixture
def tenant() -> Tenant:
    return make_tenant(plan="free").tenant


def agree(tenant: Tenant, **changes: Unpack[OverriddenLimits]) -> None:
    with tenant_scope(tenant):
        override_plan(
            actor=ACTOR, reason="test", expires_at=timezone.now() + timedelta(days=1), changes=changes
        )


def take(tenant: Tenant, records: int = 1, *, fails: bool = False, pause: float = 0.0) -> bool:
    """Whether there was room for so many records; `fails`: the transaction is rolled back after it."""
    try:
        with tenant_scope(tenant), connections["default"].cursor() as cursor:
            quota.take(cursor, tenant.pk, records)
            time.sleep(pause)
            if fails:
                raise KeyError
    except KeyError:
        return False
    except QuotaExceeded:
        return False
    return True


def used(tenant: Tenant) -> int:
    with tenant_scope(tenant), connections["default"].cursor() as cursor:
        return quota.used(cursor, tenant.pk)


def at_once(number: int, work) -> list:
    """What each of so many threads came to, all of them begun at one moment."""
    ready = threading.Barrier(number)

    def one(index):
        try:
            ready.wait(10)
            return work(index)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(number) as pool:
        return list(pool.map(one, range(number)))


def test_b6_100_takes_at_once_of_a_quota_of_50_let_exactly_50_through(tenant):
    agree(tenant, monthly_records=50)
    outcomes = at_once(20, lambda _: [take(tenant) for _ in range(5)])
    assert sum(map(sum, outcomes)) == used(tenant) == 50


def test_16_clients_at_once_neither_overdraw_nor_leave_anything(tenant):
    agree(tenant, monthly_records=1_000)
    sizes = random.Random(7)
    asked = [[sizes.choice([1, 1, 1, 2, 5, 30]) for _ in range(30)] for _ in range(16)]
    outcomes = at_once(16, lambda n: sum(size for size in asked[n] if take(tenant, size, pause=0.001)))
    left = 1_000 - sum(outcomes)
    assert used(tenant) == sum(outcomes) <= 1_000
    assert left < 30
    assert sum(take(tenant) for _ in range(left + 3)) == left


def test_what_is_rolled_back_was_not_taken(tenant):
    agree(tenant, monthly_records=10)
    for _ in range(20):
        take(tenant, 3, fails=True)
    assert used(tenant) == 0
    assert take(tenant, 10)
    assert not take(tenant)


def test_all_or_nothing_with_words_for_what_is_left(tenant):
    take(tenant, 998)
    with tenant_scope(tenant), connections["default"].cursor() as cursor:
        with pytest.raises(
            QuotaExceeded, match=r"Plan Free includes 1,000 records a month; 2 of them are left, these 3 do"
        ):
            quota.take(cursor, tenant.pk, 3)
        quota.take(cursor, tenant.pk, 2)
        with pytest.raises(QuotaExceeded, match="none of them is left"):
            quota.take(cursor, tenant.pk, 1)


def test_piece_by_piece_as_many_as_there_is_room_for(tenant):
    agree(tenant, monthly_records=25)
    found = []
    for _ in range(4):
        with tenant_scope(tenant), connections["default"].cursor() as cursor:
            found.append(quota.take_some(cursor, tenant.pk, 10))
    assert found == [10, 10, 5, 0]


def test_with_overage_everything_is_taken_and_counted():
    tenant = make_tenant(plan="pro").tenant
    agree(tenant, monthly_records=10)
    assert all(map(all, at_once(8, lambda _: [take(tenant, 7) for _ in range(10)])))
    assert used(tenant) == 8 * 10 * 7


class TestChangedPlans:
    def test_a_smaller_quota_counts_what_was_taken_before(self, tenant):
        take(tenant, 100)
        agree(tenant, monthly_records=101)
        assert [take(tenant), take(tenant)] == [True, False]

    def test_a_larger_quota_has_room_at_once(self, tenant):
        take(tenant, 1_000)
        assert not take(tenant)
        agree(tenant, monthly_records=1_001)
        assert [take(tenant), take(tenant)] == [True, False]

    def test_what_was_taken_with_overage_counts_when_the_plan_stops_hard_again(self, tenant):
        take(tenant, 10)  # shares are dealt out
        with tenant_scope(tenant):
            change_plan(plan="pro", actor=ACTOR)
        at_once(8, lambda _: [take(tenant, 130)])
        assert used(tenant) == 1_050
        with tenant_scope(tenant):
            change_plan(plan="free", actor=ACTOR)
        assert not any(map(any, at_once(8, lambda _: [take(tenant) for _ in range(3)])))
        agree(tenant, monthly_records=1_053)
        assert sum(map(sum, at_once(8, lambda _: [take(tenant) for _ in range(3)]))) == 3


def test_accepts_of_a_tenant_do_not_wait_for_each_other(tenant):
    agree(tenant, monthly_records=10_000)
    take(tenant)  # deals the shares
    taken, done = threading.Event(), threading.Event()

    def own_row(cursor) -> int:
        cursor.execute("SELECT pg_backend_pid() & 15")
        return cursor.fetchone()[0]

    def holds(not_this: int):
        try:
            while True:
                with tenant_scope(tenant), connections["default"].cursor() as cursor:
                    if own_row(cursor) != not_this:
                        quota.take(cursor, tenant.pk, 1)
                        taken.set()
                        done.wait(10)
                        return
                connections.close_all()
        finally:
            connections.close_all()

    with connections["default"].cursor() as cursor:
        here = own_row(cursor)
    holder = threading.Thread(target=holds, args=[here])
    holder.start()
    assert taken.wait(10)
    with tenant_scope(tenant), connections["default"].cursor() as cursor:
        cursor.execute("SET LOCAL lock_timeout = '50ms'")
        quota.take(cursor, tenant.pk, 1)
    done.set()
    holder.join()
    assert used(tenant) == 3


def test_the_month_is_that_of_the_transaction_and_a_new_one_begins_empty(tenant):
    take(tenant, 1_000)
    assert not take(tenant)
    with tenant_scope(tenant):
        last_month = (timezone.now().replace(day=1) - timedelta(days=1)).date().replace(day=1)
        UsageCounter.objects.update(period=last_month)
    assert used(tenant) == 0
    assert take(tenant, 1_000)


def test_another_tenant_has_a_quota_of_its_own(tenant):
    other = make_tenant(plan="free").tenant
    take(tenant, 1_000)
    assert take(other, 1_000)
    assert not take(tenant)


def test_the_limits_of_the_plan_are_asked_for_once_and_remembered(tenant, django_assert_num_queries):
    limits.limits_of(tenant.pk)
    with tenant_scope(tenant), django_assert_num_queries(1), connections["default"].cursor() as cursor:
        quota.take(cursor, tenant.pk, 1)


def test_it_costs_a_fraction_of_a_millisecond_where_the_plan_does_not_stop():
    tenant = make_tenant(plan="pro").tenant
    take(tenant)
    costs = []
    for _ in range(60):
        with tenant_scope(tenant), connections["default"].cursor() as cursor:
            began = time.perf_counter()
            quota.take(cursor, tenant.pk, 1)
            costs.append(time.perf_counter() - began)
    assert sorted(costs)[15] < 0.001  # a quarter of 1 ms when nothing else runs


class TestMonthsEdges:
    """B2, with a clock of PostgreSQL's that can be set."""

    @pytest.fixture
    def at(self):
        with psycopg.connect(os.environ["DATABASE_OWNER_URL"], autocommit=True) as owner:
            owner.execute("CREATE SCHEMA clock")
            owner.execute(
                """CREATE FUNCTION clock.now() RETURNS timestamptz STABLE LANGUAGE sql
                   AS $$ SELECT current_setting('clock.now')::timestamptz $$"""
            )
            owner.execute("GRANT USAGE ON SCHEMA clock TO weir_app")

            def accept(tenant: Tenant, moment: str, zone: str = "UTC") -> None:
                with tenant_scope(tenant), connections["default"].cursor() as cursor:
                    cursor.execute("SET LOCAL search_path = clock, pg_catalog, public")
                    cursor.execute("SELECT set_config('clock.now', %s, true)", [moment])
                    cursor.execute("SELECT set_config('TimeZone', %s, true)", [zone])
                    make_run(tenant, 1)

            yield accept
            owner.execute("DROP SCHEMA clock CASCADE")

    def test_each_record_counts_in_exactly_one_month_in_ledger_and_counter_alike(self, at):
        tenant = make_tenant(plan="pro").tenant
        connect_all(tenant)
        at(tenant, "2028-02-29 23:59:59.999999+00")  # a leap day's last moment
        at(tenant, "2028-03-01 00:00:00+00")
        at(tenant, "2028-03-01 01:30:00+02")  # still February in UTC
        at(tenant, "2028-03-26 02:30:00+02", "Europe/Berlin")  # the hour that clocks pass over
        at(tenant, "2028-12-31 23:30:00-05", "America/New_York")  # January in UTC
        with tenant_scope(tenant):
            counted: Counter[str] = Counter()
            for period, records in UsageCounter.objects.values_list("period", "records"):
                counted[str(period)] += records
            ledger = Counter(str(period) for period in UsageEvent.objects.values_list("period", flat=True))
        assert counted == ledger == {"2028-02-01": 2, "2028-03-01": 2, "2029-01-01": 1}
