"""A lane whose owner lets it ask several questions in one call, against vendors that count strictly."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from django.db.models import Count, Sum

from billing.models import UsageEvent
from integrations.connectors.base import Query, VendorResponse
from integrations.connectors.prospeo import Prospeo
from integrations.connectors.zerobounce import ZeroBounce
from integrations.outcomes import Retry
from tenants.models import Tenant
from tenants.scope import tenant_scope
from tests.factories import ACTOR
from tests.sandbox import Sandbox
from tests.workflows.lanes.helpers import people, start, wait
from workflows.lanes.runner import Runner
from workflows.models import AmbiguousCall, Lane, Record, RunVendor, Step
from workflows.operations.control_lane import ask_together

LEFT_OUT = Retry("error", "left out of the vendor's answer", uncertain=True)
Connected = Callable[..., None]


@pytest.fixture
def connected(committed: None, tenant: Tenant, sandbox: Sandbox, connect: Callable[..., Any]) -> Connected:
    """Connects the three vendors, each with one call at a time, which asks several where the vendor can."""

    def do(windows: Sequence[Any] = ({"rate": 10_000, "period": 1},), **options: Any) -> None:
        for provider in ("prospeo", "findymail", "zerobounce"):
            limits: dict[str, Any] = {"windows": list(windows), "parallelism": 1}
            connect(provider, secret=f"key-{provider}", mode="sandbox", **limits, **options)
            sandbox.set_key(provider, f"key-{provider}", **limits)
        with tenant_scope(tenant):
            for lane in Lane.objects.exclude(provider="findymail"):
                ask_together(lane_id=lane.pk, on=True, actor=ACTOR)

    return do


def calls_of(sandbox: Sandbox, provider: str) -> list[int]:
    """How many questions each call had."""
    asked = sandbox.calls(provider=provider)
    together = Counter(call["bulk"] for call in asked if call["bulk"])
    return [*together.values(), *(1 for call in asked if not call["bulk"] and call["operation"] != "balance")]


def test_one_call_serves_many_and_each_has_its_own_row_and_price(
    tenant: Tenant, connected: Connected, sandbox: Sandbox, runner: Runner
) -> None:
    connected()
    people_asked = [*people(60), *people(20, last="Nobody")]
    run = wait(start(tenant, people_asked))
    assert (run.found, run.not_found, run.failed) == (60, 20, 0)
    told = sandbox.summary()
    assert (told["prospeo"]["calls"], told["prospeo"]["repeated"], told["prospeo"]["over_limit"]) == (
        80,
        0,
        0,
    )
    for provider, count in (("prospeo", 80), ("zerobounce", 60)):
        sizes = calls_of(sandbox, provider)
        assert sum(sizes) == count
        assert max(sizes) > 1
        assert len(sizes) < count
    with tenant_scope(tenant):
        rows = Step.objects.filter(provider="prospeo").values("record_id").annotate(n=Count("id"))
        assert [row["n"] for row in rows] == [1] * 80
        assert set(Step.objects.filter(provider="prospeo").values_list("status", flat=True)) == {"done"}
        for provider in ("prospeo", "zerobounce"):
            counted = RunVendor.objects.get(run=run, provider=provider)
            assert counted.calls == told[provider]["calls"]
            assert counted.credits == told[provider]["credits"] * 1000
        spent = UsageEvent.objects.filter(kind="attempt").aggregate(total=Sum("credits"))["total"]
    assert run.credits_spent == spent == sum(told[name]["credits"] for name in told) * 1000


def test_a_strict_vendor_never_sees_more_people_than_its_window_allows(
    tenant: Tenant, connected: Connected, sandbox: Sandbox, runner: Runner
) -> None:
    connected([{"rate": 12, "period": 1}])
    run = wait(start(tenant, people(40)), seconds=40)
    assert run.found == 40
    told = sandbox.summary()
    for provider in ("prospeo", "zerobounce"):
        assert (told[provider]["over_limit"], told[provider]["max_in_flight"]) == (0, 1)
        assert told[provider]["max_per_window"]["12/1s"] <= 12
        assert max(calls_of(sandbox, provider)) > 1


def test_a_lone_question_is_asked_alone(
    tenant: Tenant, connected: Connected, sandbox: Sandbox, runner: Runner
) -> None:
    connected()
    wait(start(tenant, people(1)))
    assert {call["bulk"] for call in sandbox.calls()} == {None}


@pytest.mark.parametrize("fault", ["drop_after_charge", "half_body", "reset", "status_500", "rate_limit"])
def test_a_call_that_goes_wrong_goes_wrong_for_each_and_each_is_asked_again(
    fault: str, tenant: Tenant, connected: Connected, sandbox: Sandbox, runner: Runner
) -> None:
    connected()
    sandbox.fault("prospeo", fault, count=1)
    run = wait(start(tenant, people(20)), seconds=40)
    assert (run.found, run.failed) == (20, 0)
    hit = [call for call in sandbox.calls(provider="prospeo") if call["fault"]]
    with tenant_scope(tenant):
        doubtful = Step.objects.filter(provider="prospeo", status="ambiguous").count()
        assert Step.objects.filter(provider="prospeo", status="done").count() == 20
        assert RunVendor.objects.get(run=run, provider="prospeo").calls == 20 + len(hit)
    assert doubtful == (len(hit) if fault in ("drop_after_charge", "half_body", "reset") else 0)
    assert run.credits_spent == sum(told["credits"] for told in sandbox.summary().values()) * 1000


def leave_out(monkeypatch: pytest.MonkeyPatch, vendor: Any, field: str, value: str) -> None:
    """The vendor's answers in bulk do not mention this one."""
    interpret = vendor.interpret_bulk

    def poorer(self: Any, operation: str, queries: Sequence[Query], response: VendorResponse) -> Any:
        told = interpret(self, operation, queries, response)
        return [LEFT_OUT if query[field] == value else one for query, one in zip(queries, told, strict=True)]

    monkeypatch.setattr(vendor, "interpret_bulk", poorer)


def test_one_left_out_where_a_repeat_is_free_is_asked_alone(
    tenant: Tenant, connected: Connected, sandbox: Sandbox, runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    connected()
    leave_out(monkeypatch, Prospeo, "first_name", "Person7")
    run = wait(start(tenant, people(12)))
    assert (run.found, run.failed) == (12, 0)
    with tenant_scope(tenant):
        (twice,) = Step.objects.filter(provider="prospeo", attempt=2)
        assert Record.objects.get(pk=twice.record_id).input["first_name"] == "Person7"
        assert Step.objects.filter(status="ambiguous").count() == 1
    assert run.credits_spent == sum(told["credits"] for told in sandbox.summary().values()) * 1000


def test_one_left_out_where_a_repeat_costs_is_asked_about_and_nobody_else_waits(
    tenant: Tenant, connected: Connected, sandbox: Sandbox, runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    connected(on_ambiguous="ask")
    interpret = ZeroBounce.interpret_bulk

    def poorer(self: ZeroBounce, operation: str, queries: Sequence[Query], response: VendorResponse) -> Any:
        return [LEFT_OUT, *interpret(self, operation, queries, response)[1:]]  # type: ignore[index]

    monkeypatch.setattr(ZeroBounce, "interpret_bulk", poorer)
    run = wait(start(tenant, people(12)))
    left_out = sum(size > 1 for size in calls_of(sandbox, "zerobounce"))
    assert left_out >= 1
    assert (run.failed, run.found) == (left_out, 12 - left_out)
    with tenant_scope(tenant):
        assert AmbiguousCall.objects.count() == left_out
        failed = Record.objects.filter(run=run, status="failed")
        assert {record.error["code"] for record in failed} == {"ambiguous"}
    assert sandbox.summary()["zerobounce"]["repeated"] == 0
