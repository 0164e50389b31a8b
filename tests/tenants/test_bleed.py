"""R5: many threads, few connections, tenants in turn, everything going wrong: nobody sees another's rows.

Over Django's own pool, over persistent connections, and through PgBouncer in transaction mode. The same campaign with
a setting that outlives its transaction must fail: a campaign that cannot is no proof.
"""

import os
import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import psycopg
import pytest
from django.core.signals import request_finished, request_started
from django.db import DatabaseError, connection, connections, transaction

from tenants import scope
from tenants.errors import ScopeError
from tenants.scope import SETTING, drop_leftovers, tenant_scope
from tests.bouncer import Bouncer
from tests.factories import make_tenant
from workflows.models import Workflow

THREADS, TENANTS, CONNECTIONS = 8, 4, 2
SHORT, LONG = 40, 5_000
"""Requests of each thread."""


CROWD = """SELECT count(*) FROM pg_stat_activity
           WHERE datname = current_database() AND application_name = 'weir-app'"""


class Boom(Exception):
    """What a request dies of."""


class Campaign:
    """Threads that serve requests of one tenant after the other; what they saw that they should not is in `wrong`."""

    def __init__(self, tenants: list[uuid.UUID], requests: int, seed: int = 20_26) -> None:
        self.tenants, self.requests, self.seed = tenants, requests, seed
        self.wrong: list[str] = []
        self.done: Counter[str] = Counter()
        self.crowd = 0
        """The most server connections that were seen at once, beyond those that were there before."""
        self._idle = before()
        self._faults: list[Callable[[uuid.UUID], None]] = [
            self.read, self.read, self.write, self.die, self.time_out, self.be_cancelled, self.roll_back_a_part,
            self.nest, self.forget_the_scope, self.hop, self.leave_a_stream, self.lose_the_connection,
        ]  # fmt: skip

    def run(self) -> None:
        with ThreadPoolExecutor(THREADS) as pool:
            for thread in [pool.submit(self._serve, number) for number in range(THREADS)]:
                thread.result()

    def _serve(self, number: int) -> None:
        dice = random.Random(self.seed + number)
        try:
            for turn in range(self.requests):
                tenant = self.tenants[(number + turn) % len(self.tenants)]
                self._request(dice.choice(self._faults), tenant)
        finally:
            connections.close_all()

    def _request(self, work: Callable[[uuid.UUID], None], tenant: uuid.UUID) -> None:
        request_started.send(sender=None, environ={})
        try:
            self._expect("told at checkout", told(), "")
            work(tenant)
            self.done[work.__name__] += 1
        except Boom:
            self.done[work.__name__] += 1
        except DatabaseError as error:
            # A connection that somebody ended, a pool that was busy; never a wrong answer.
            self.done[f"{work.__name__}: {type(error).__name__}"] += 1
        finally:
            if drop_leftovers():
                self.wrong.append(f"{work.__name__} left a scope open")
            request_finished.send(sender=None)

    def _expect(self, what: str, seen: object, wanted: object) -> None:
        if seen != wanted:
            self.wrong.append(f"{what}: {seen} instead of {wanted}")

    def read(self, tenant: uuid.UUID) -> None:
        """By the ORM and in plain SQL, one's own rows and no others."""
        with tenant_scope(tenant):
            self._expect("told in scope", told(), str(tenant))
            self._expect(
                "rows of the ORM", set(Workflow.objects.values_list("tenant_id", flat=True)), {tenant}
            )
            self._expect("rows of SQL", set(rows("SELECT tenant_id FROM workflow")), {tenant})
            self.crowd = max(self.crowd, rows(CROWD)[0] - self._idle)

    def write(self, tenant: uuid.UUID) -> None:
        with tenant_scope(tenant):
            changed = rows("UPDATE workflow SET name = tenant_id::text RETURNING tenant_id")
            self._expect("rows written", set(changed), {tenant})
        self.read(tenant)

    def die(self, tenant: uuid.UUID) -> None:
        with tenant_scope(tenant):
            self.read(tenant)
            raise Boom

    def time_out(self, tenant: uuid.UUID) -> None:
        """A query that takes too long, and the same request goes on."""
        with suppress(DatabaseError), tenant_scope(tenant), connection.cursor() as cursor:
            cursor.execute("SET LOCAL statement_timeout = 5")
            cursor.execute("SELECT pg_sleep(1)")
        self.read(tenant)

    def be_cancelled(self, tenant: uuid.UUID) -> None:
        """Somebody else ends the query."""
        with suppress(DatabaseError), tenant_scope(tenant):
            (pid,) = rows("SELECT pg_backend_pid()")
            killer = threading.Thread(target=cancel, args=(pid,))
            killer.start()
            try:
                rows("SELECT pg_sleep(0.3)")
            finally:
                killer.join()
        self.read(tenant)

    def roll_back_a_part(self, tenant: uuid.UUID) -> None:
        with tenant_scope(tenant):
            with suppress(Boom, DatabaseError), transaction.atomic():
                with suppress(Boom), tenant_scope(tenant):
                    raise Boom
                rows("SELECT nonsense")
            self._expect("told after a part was rolled back", told(), str(tenant))
            self.read(tenant)

    def nest(self, tenant: uuid.UUID) -> None:
        with transaction.atomic():
            with tenant_scope(tenant), tenant_scope(tenant):
                self.read(tenant)
            self._expect("told in the transaction around", told(), "")

    def forget_the_scope(self, tenant: uuid.UUID) -> None:
        """The ORM refuses, and PostgreSQL too."""
        with suppress(ScopeError):
            self.wrong.append(f"{Workflow.objects.count()} rows without a scope")
        with suppress(DatabaseError), transaction.atomic():
            self.wrong.append(f"{len(rows('SELECT tenant_id FROM workflow'))} rows of SQL without a scope")

    def hop(self, tenant: uuid.UUID) -> None:
        """One request works for several tenants in turn, as a sweep does."""
        for other in self.tenants:
            self.read(other)

    def leave_a_stream(self, tenant: uuid.UUID) -> None:
        """The caller went away in the middle of a stream."""

        def stream() -> Iterator[object]:
            with tenant_scope(tenant):
                yield from rows("SELECT tenant_id FROM workflow")

        pieces = stream()
        self._expect("rows streamed", next(pieces), tenant)
        pieces.close()

    def lose_the_connection(self, tenant: uuid.UUID) -> None:
        with tenant_scope(tenant):
            if told() == str(tenant) and random.random() < 0.3:
                rows("SELECT pg_terminate_backend(pg_backend_pid())")
        self.read(tenant)


def rows(statement: str) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return [row[0] for row in cursor.fetchall()]


def before() -> int:
    """Connections that other threads of this process kept."""
    with psycopg.connect(os.environ["DATABASE_URL"]) as other:
        row = other.execute(CROWD).fetchone()
        return int(row[0]) if row else 0


def told() -> str:
    """What PostgreSQL was told about the tenant on this connection; empty for nothing."""
    return str(rows(f"SELECT coalesce(current_setting('{SETTING}', true), '')")[0])


def cancel(pid: int) -> None:
    time.sleep(0.005)
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as other:
        other.execute("SELECT pg_cancel_backend(%s)", (pid,))


def close_pool() -> None:
    """Must run on a thread that makes its connection anew: another's knows of no pool."""
    connections["default"].close_pool()


@pytest.fixture
def tenants(committed: None) -> list[uuid.UUID]:
    return [make_tenant().tenant.pk for _ in range(TENANTS)]


@pytest.fixture(params=["django's pool", "persistent connections", "pgbouncer"])
def way(
    request: pytest.FixtureRequest, tenants: list[uuid.UUID], monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """Connections that threads open from now on go this way."""
    settings = connections.settings["default"]
    bouncer = None
    connections.close_all()
    with monkeypatch.context() as patch:
        if request.param == "django's pool":
            pool = {"min_size": 1, "max_size": CONNECTIONS, "timeout": 20}
            patch.setitem(settings, "OPTIONS", settings["OPTIONS"] | {"pool": pool})
            patch.setitem(settings, "CONN_MAX_AGE", 0)
            patch.setitem(settings, "CONN_HEALTH_CHECKS", True)
        elif request.param == "pgbouncer":
            bouncer = Bouncer(pool_size=CONNECTIONS)
            for name, value in bouncer.settings.items():
                patch.setitem(settings, name, value)
        yield request.param
        if request.param == "django's pool":
            with ThreadPoolExecutor(1) as thread:
                thread.submit(close_pool).result()
    if bouncer:
        bouncer.stop()


def test_nobody_sees_anothers_rows(way: str, tenants: list[uuid.UUID]) -> None:
    campaign = Campaign(tenants, SHORT)
    campaign.run()
    assert campaign.wrong == []
    assert sum(campaign.done.values()) == THREADS * SHORT
    # One that ends may still be there beside its successor.
    fewest, most = (
        (THREADS, THREADS + 2) if way == "persistent connections" else (CONNECTIONS, CONNECTIONS + 2)
    )
    assert fewest <= campaign.crowd <= most, "the connections were not shared as this way says"
    assert campaign.done["read"] > SHORT // 2, campaign.done
    assert campaign.done["forget_the_scope"], campaign.done


@pytest.mark.campaign
def test_nobody_sees_anothers_rows_in_a_long_campaign(way: str, tenants: list[uuid.UUID]) -> None:
    campaign = Campaign(tenants, LONG)
    campaign.run()
    assert campaign.wrong == []
    assert sum(campaign.done.values()) == THREADS * LONG


def test_the_campaign_notices_a_setting_that_outlives_its_transaction(
    way: str, tenants: list[uuid.UUID], monkeypatch: pytest.MonkeyPatch
) -> None:
    def for_the_session(wrapper: Any, tenant_id: uuid.UUID, **_: Any) -> None:
        with wrapper.cursor() as cursor:
            cursor.execute("SELECT set_config(%s, %s, false)", (SETTING, str(tenant_id)))

    monkeypatch.setattr(scope, "begin_as", for_the_session)
    campaign = Campaign(tenants, SHORT // 2)
    campaign.run()
    assert any("told at checkout" in line for line in campaign.wrong)
    assert any("without a scope" in line for line in campaign.wrong)
