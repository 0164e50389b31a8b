"""Servers, databases and fixtures of the whole suite.

A test that takes `db` (as `tenant` and most fixtures here do) runs in one transaction of the app login that is rolled
back. A test that needs real commits, the ops login, threads or other processes takes `committed` as well; the owner
removes its rows afterwards.
"""

import gc
import os
import shutil
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
import redis
from django.conf import settings

from tests import environment, order

if settings.configured:
    raise pytest.UsageError(
        "Unset DJANGO_SETTINGS_MODULE: the tests start their servers before settings are read."
    )
CLAIMS = environment.prepare()
FOLDER = environment.load_settings()

if TYPE_CHECKING:
    from integrations.models import Connection
    from tenants.models import Tenant, User
    from tests.billing.stripe_rig import Rig
    from tests.client import Api
    from tests.factories import People
    from tests.sandbox import Sandbox
    from tests.stripe_double import Double


def pytest_configure(config: pytest.Config) -> None:
    global CLAIMS, FOLDER
    if CLAIMS.process != os.getpid():
        CLAIMS, FOLDER = environment.prepare_fork()
    config.option.loadscopereorder = (
        False  # xdist would begin with the files that have most tests, not the longest
    )
    config.add_cleanup(lambda: shutil.rmtree(FOLDER, ignore_errors=True))
    config.add_cleanup(CLAIMS.release)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: order.place(item.nodeid))
    for item in items:
        if "committed" in getattr(item, "fixturenames", ()):
            item.add_marker(
                pytest.mark.django_db(transaction=True, databases=["default", "ops"]), append=False
            )
    if (
        CLAIMS.forked
    ):  # a mutant ends with the first test that notices: those without a database, and the quickest
        seconds = environment.measured()
        items.sort(
            key=lambda item: (
                bool({"db", "transactional_db"} & set(getattr(item, "fixturenames", ()))),
                seconds.get(item.nodeid, 0.0),
            )
        )


def pytest_collection_finish() -> None:
    gc.freeze()  # six thousand tests are nobody's garbage, and take long to look through


@pytest.fixture(scope="session")
def django_db_setup(django_test_environment: None, django_db_blocker: Any) -> Iterator[None]:
    """This process's own clone of the migrated template; tests sign in as weir_app and weir_ops, as the product does."""
    from django.db import connections
    from django.test import TransactionTestCase

    from tests import databases

    databases.create(CLAIMS)
    with django_db_blocker.unblock(), pytest.MonkeyPatch.context() as patch:
        for alias in connections:
            # Django would find out by creating a table, which these logins cannot.
            patch.setitem(connections[alias].features.__dict__, "supports_transactions", True)
        # Django's own way of emptying tables after such a test is a TRUNCATE by the login under test.
        patch.setattr(TransactionTestCase, "_fixture_teardown", lambda self: databases.empty())
        yield
        connections.close_all()
        databases.leave()
    databases.drop(CLAIMS)


@pytest.fixture
def committed(transactional_db: None) -> None:
    """Commits are real and both logins may be used; threads and other processes see what the test wrote."""


@pytest.fixture(scope="session")
def redis_client() -> Iterator["redis.Redis"]:
    """This process's own Redis database."""
    with redis.Redis.from_url(settings.REDIS_URL) as client:
        yield client


@pytest.fixture(autouse=True)
def _empty_redis(redis_client: "redis.Redis") -> None:
    redis_client.flushdb()


@pytest.fixture(autouse=True)
def _nobody_calls() -> Iterator[None]:
    """Whoever a test made call, without a request around it, calls no further than its end."""
    from tenants.context import context

    with context():
        yield


@pytest.fixture
def people(db: None) -> "People":
    """A tenant of plan `pro`, with its owner."""
    from tests.factories import make_tenant

    return make_tenant("Acme", email="owner@acme.example")


@pytest.fixture
def tenant(people: "People") -> "Tenant":
    return people.tenant


@pytest.fixture
def owner(people: "People") -> "User":
    """The tenant's administrator; the password is factories.PASSWORD."""
    return people.owner


@pytest.fixture
def other_tenant(db: None) -> "Tenant":
    """Somebody else, with the same kinds of things."""
    from tests.factories import make_tenant

    return make_tenant("Globex", email="owner@globex.example").tenant


@pytest.fixture
def api_key(tenant: "Tenant") -> str:
    """A plain live key of the tenant with all scopes."""
    from tests.factories import make_key

    return make_key(tenant)


@pytest.fixture
def test_key(tenant: "Tenant") -> str:
    """A plain test key of the tenant with all scopes: it reaches sandbox connections alone."""
    from tests.factories import make_key

    return make_key(tenant, livemode=False)


@pytest.fixture
def api(api_key: str) -> "Api":
    """The API with the tenant's live key."""
    from tests.client import Api

    return Api(api_key)


@pytest.fixture
def other_api(other_tenant: "Tenant") -> "Api":
    """The API with the other tenant's live key."""
    from tests.client import Api
    from tests.factories import make_key

    return Api(make_key(other_tenant))


@pytest.fixture
def connect(tenant: "Tenant") -> "Callable[..., Connection]":
    """`connect("prospeo", secret=…, mode=…, windows=…, parallelism=…)`: a connection of the tenant, with its lane."""
    from tests.factories import make_connection

    return lambda provider, **options: make_connection(tenant, provider, **options)


@pytest.fixture(scope="session")
def sandbox_process() -> Iterator["Sandbox"]:
    from tests.sandbox import Sandbox

    process = Sandbox()
    yield process
    process.stop()


@pytest.fixture
def sandbox(sandbox_process: "Sandbox", monkeypatch: pytest.MonkeyPatch) -> "Sandbox":
    """The sandbox vendors, reset; sandbox connections go there, of child processes as well."""
    sandbox_process.reset()
    monkeypatch.setattr(settings, "SANDBOX_URL", sandbox_process.url)
    monkeypatch.setenv("WEIR_SANDBOX_URL", sandbox_process.url)
    return sandbox_process


@pytest.fixture
def double(sandbox_process: "Sandbox", monkeypatch: pytest.MonkeyPatch) -> "Double":
    """The double of Stripe, empty, with Weir pointed at it; what it would send waits to be fetched."""
    from billing import stripe_gateway
    from tests.billing.stripe_rig import SECRET
    from tests.stripe_double import KEY, Double

    sandbox_process.reset()
    found = Double(sandbox_process)
    monkeypatch.setattr(settings, "STRIPE_SECRET_KEY", KEY)
    monkeypatch.setattr(settings, "STRIPE_WEBHOOK_SECRET", SECRET)
    monkeypatch.setattr(settings, "STRIPE_API_BASE", found.url)
    monkeypatch.setattr(stripe_gateway, "RETRIES", 0)
    stripe_gateway.forget_meter()
    for silence in (stripe_gateway.SILENCE, stripe_gateway.USAGE_SILENCE):
        silence.answered()
    found.listen(SECRET)
    return found


@pytest.fixture
def rig(committed: None, double: "Double") -> "Rig":
    """A tenant that pays nothing yet, and everything that happens to it at Stripe. Commits are real."""
    from tests.billing.stripe_rig import Rig

    return Rig(double)
