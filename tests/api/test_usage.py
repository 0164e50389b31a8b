"""GET /usage, /tenant, /workflows and /templates."""

import time

import pytest
from django.utils import timezone

from billing import api_calls
from billing.models import UsageEvent
from tenants.scope import tenant_scope
from tests.api.test_errors import assert_problem
from tests.client import Api
from tests.factories import connect_all, make_key, make_run, make_tenant
from workflows.catalog import TEMPLATES


@pytest.fixture(autouse=True)
def _counting(monkeypatch):
    monkeypatch.setattr(api_calls._rest_after_failure, "until", 0.0)


def attempt(key, provider="prospeo", credits=1_000, **fields):
    return UsageEvent.objects.create(
        **{
            "key": f"attempt:{key}", "kind": "attempt", "provider": provider, "credits": credits,
            "period": timezone.now().date().replace(day=1), **fields,
        }
    )  # fmt: skip


def test_a_month_s_usage_comes_from_the_ledger(api, tenant):
    connect_all(tenant)
    run = make_run(tenant, 3)
    with tenant_scope(tenant):
        attempt(1, run_id=run.pk)
        attempt(2, credits=500, run_id=run.pk)
        attempt(3, provider="zerobounce", credits=250)
    month = timezone.now().strftime("%Y-%m")
    usage = api.get("/usage").json()
    assert usage == {
        "period": month,
        "records": 3,
        "vendor_calls": 3,
        "credits": 1.75,
        "api_calls": 1,
        "quota": {
            "records_included": 100_000,
            "records_used": 3,
            "records_remaining": 99_997,
            "records_over": 0,
            "overage_allowed": True,
        },
        "limits": {
            "plan": "pro",
            "requests_per_second": 1_000,
            "requests_per_minute": 60_000,
            "lanes": 100,
            "seats": 25,
        },
        "vendors": [
            {"provider": "prospeo", "calls": 2, "credits": 1.5},
            {"provider": "zerobounce", "calls": 1, "credits": 0.25},
        ],
        "workflows": [
            {
                "workflow": "email-waterfall",
                "name": "Email waterfall",
                "records": 3,
                "vendor_calls": 2,
                "credits": 1.5,
            }
        ],
        "days": [
            {"day": timezone.now().strftime("%Y-%m-%d"), "records": 3, "vendor_calls": 3, "credits": 1.75}
        ],
    }
    assert api.get(f"/usage?period={month}").json()["records"] == 3
    assert api.get("/usage?period=2020-01").json()["vendor_calls"] == 0


def test_a_record_given_back_is_not_counted(api, tenant):
    connect_all(tenant)
    run = make_run(tenant, 3)
    with tenant_scope(tenant):
        UsageEvent.objects.create(
            key="back:1",
            kind="record",
            quantity=-1,
            run_id=run.pk,
            period=timezone.now().date().replace(day=1),
        )
    assert api.get("/usage").json()["quota"]["records_used"] == 2


def test_test_mode_has_calls_and_no_records(tenant, test_key):
    connect_all(tenant)
    make_run(tenant, 3, livemode=False)
    make_run(tenant, 1, livemode=True)
    with tenant_scope(tenant):
        attempt(1, livemode=False)
    usage = Api(test_key).get("/usage").json()
    assert (usage["records"], usage["vendor_calls"]) == (0, 1)
    assert usage["quota"]["records_used"] == 1


def test_requests_are_counted_per_mode(api, test_key):
    for _ in range(3):
        api.get("/tenant")
    api.get("/nope")
    Api(test_key).get("/tenant")
    Api("").get("/tenant")
    assert api.get("/usage").json()["api_calls"] == 4  # this one as well
    assert Api(test_key).get("/usage").json()["api_calls"] == 2


def test_requests_are_answered_at_once_while_redis_is_away(api, settings):
    api.get("/tenant")
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    api_calls._client.cache_clear()
    began = time.monotonic()
    try:
        assert api.get("/tenant").status_code == 200
        usage = api.get("/usage")
    finally:
        api_calls._client.cache_clear()
    assert (usage.status_code, usage.json()["api_calls"]) == (200, None)
    assert time.monotonic() - began < 2


def test_over_the_quota_nothing_remains(db):
    tenant = make_tenant(plan="free").tenant
    with tenant_scope(tenant):
        UsageEvent.objects.create(
            key="record:x", kind="record", quantity=1_200, period=timezone.now().date().replace(day=1)
        )
    quota = Api(make_key(tenant)).get("/usage").json()["quota"]
    assert quota == {
        "records_included": 1_000, "records_used": 1_200, "records_remaining": 0, "records_over": 200,
        "overage_allowed": False,
    }  # fmt: skip


@pytest.mark.parametrize(
    "period",
    ["2026", "2026-13", "2026-1", "26-01", "2026-01-01", "0000-01", "x", "", "２０２６-01", "-001-01"],
)
def test_a_month_that_is_none_is_named(api, period):
    assert_problem(api.get(f"/usage?period={period}"), 422, "invalid_input")


def test_the_tenant_and_its_plan(api, tenant):
    answer = api.get("/tenant").json()
    assert (answer["id"], answer["name"], answer["plan"]) == (str(tenant.pk), "Acme", "pro")
    assert (answer["monthly_credit_limit"], answer["retention_days"]) == (None, 90)


def test_each_new_tenant_has_a_workflow_per_template(api):
    found = {row["slug"]: row for row in api.get("/workflows").json()["data"]}
    assert set(found) == set(TEMPLATES)
    assert found["email-waterfall"]["config"] == TEMPLATES["email-waterfall"].default_config()


def test_templates_say_what_they_take(api):
    found = {row["slug"]: row for row in api.get("/templates").json()["data"]}
    assert "linkedin_url" in found["email-waterfall"]["fields"]
    assert found["email-waterfall"]["default_config"]["accept"] == ["valid"]
