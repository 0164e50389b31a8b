"""The month's records where they are accepted: through the API, by uploads, and when they are asked for again."""

import random
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connections
from django.utils import timezone

from billing import quota
from billing.models import UsageEvent
from billing.operations.plans import override_plan
from billing.operations.reconcile import compare
from tenants.models import Tenant
from tenants.scope import tenant_scope
from tests.api.test_errors import assert_problem
from tests.client import Api
from tests.factories import ACTOR, connect_all, contact, make_key, make_run, make_tenant
from workflows.models import Record, Run
from workflows.operations.fill_run import fill_run
from workflows.operations.retry import retry_run

pytestmark = pytest.mark.usefixtures("committed")


@pytest.fixture
def tenant() -> Tenant:
    tenant = make_tenant(plan="free").tenant
    connect_all(tenant)
    return tenant


def has(tenant: Tenant, records: int) -> None:
    """Let the tenant have so many records a month."""
    with tenant_scope(tenant):
        override_plan(
            actor=ACTOR, reason="test", expires_at=timezone.now() + timedelta(days=1),
            changes={"monthly_records": records, "requests_per_minute": 10_000},
        )  # fmt: skip


def used(tenant: Tenant) -> int:
    with tenant_scope(tenant), connections["default"].cursor() as cursor:
        return quota.used(cursor, tenant.pk)


def start(api: Api, records: int = 1):
    return api.post("/runs", {"workflow": "email-waterfall", "records": [contact(n) for n in range(records)]})


def test_s4_16_clients_at_once_are_accepted_exactly_as_far_as_the_quota_goes(tenant):
    has(tenant, 60)
    key = make_key(tenant)
    sizes = random.Random(11)
    asked = [[sizes.choice([1, 1, 2, 3]) for _ in range(4)] for _ in range(16)]

    def client(number):
        try:
            return [(size, start(Api(key), size).status_code) for size in asked[number]]
        finally:
            connections.close_all()

    with ThreadPoolExecutor(16) as pool:
        answers = [answer for one in pool.map(client, range(16)) for answer in one]
    assert {status for _, status in answers} == {202, 402}
    accepted = sum(size for size, status in answers if status == 202)
    rest = 60 - accepted
    assert rest < 3
    assert [start(Api(key)).status_code for _ in range(rest + 1)] == [202] * rest + [402]
    with tenant_scope(tenant):
        assert Record.objects.count() == UsageEvent.objects.filter(kind="record").count() == 60
        assert Run.objects.count() == sum(status == 202 for _, status in answers) + rest
    assert used(tenant) == 60
    assert compare().differences == []


def test_a_refused_run_leaves_nothing_and_says_what_is_left(tenant):
    has(tenant, 3)
    api = Api(make_key(tenant))
    problem = assert_problem(start(api, 4), 402, "quota_exceeded")
    assert (
        "includes 3 records a month; 3 of them are left, these 4 do not fit. Nothing was accepted."
        in problem["detail"]
    )
    with tenant_scope(tenant):
        assert (Run.objects.count(), Record.objects.count(), UsageEvent.objects.count()) == (0, 0, 0)
    assert start(api, 3).status_code == 202


def test_test_mode_is_free(tenant):
    has(tenant, 1)
    api = Api(make_key(tenant, livemode=False))
    assert [start(api, 5).status_code for _ in range(2)] == [202, 202]
    assert used(tenant) == 0


def test_faulty_records_take_nothing(tenant):
    has(tenant, 2)
    records = [contact(0), {"first_name": "Ada"}, contact(1), {}]
    answer = Api(make_key(tenant)).post("/runs", {"workflow": "email-waterfall", "records": records})
    assert answer.status_code == 202
    assert used(tenant) == 2


def test_a_cancelled_run_gives_its_records_back(tenant):
    has(tenant, 2)
    api = Api(make_key(tenant))
    run = start(api, 2).json()
    assert start(api).status_code == 402
    assert api.post(f"/runs/{run['id']}/cancel").status_code == 200
    assert used(tenant) == 0
    assert start(api, 2).status_code == 202
    assert compare().differences == []


class TestUploads:
    def upload(self, api: Api, rows: int) -> str:
        lines = "".join(f"Ada{n},Byron{n},engines.example\n" for n in range(rows))
        return api.upload(f"first_name,last_name,domain\n{lines}".encode()).json()["id"]

    def test_one_that_cannot_fit_is_refused_before_anything_is_read(self, tenant):
        has(tenant, 5)
        api = Api(make_key(tenant))
        body = {"workflow": "email-waterfall", "upload": self.upload(api, 6)}
        assert_problem(api.post("/runs", body), 402, "quota_exceeded")

    def test_rows_that_find_no_room_fail_by_name_and_are_counted_when_retried(self, tenant):
        has(tenant, 8)
        api = Api(make_key(tenant))
        body = {"workflow": "email-waterfall", "upload": self.upload(api, 6)}
        run_id = api.post("/runs", body).json()["id"]
        make_run(tenant, 4)  # before the rows are read
        fill_run(tenant.pk, run_id)
        with tenant_scope(tenant):
            records = list(Record.objects.filter(run_id=run_id).order_by("position"))
        assert [record.status for record in records] == ["queued"] * 4 + ["failed"] * 2
        assert records[-1].error["code"] == "quota_exceeded"
        assert used(tenant) == 8
        assert_problem(api.post(f"/runs/{run_id}/retry"), 402, "quota_exceeded")
        has(tenant, 10)
        assert retry_run(tenant_id=tenant.pk, run_id=records[0].run_id, actor=ACTOR) == 2
        assert used(tenant) == 10
        assert compare().differences == []
