"""Every step that waits says why, in the words of the contract, on the real engine: each reason is reached here but for
those of jobs (poll, callback), which have tests of their own."""

import time
from collections.abc import Callable

import pytest

from tenants.models import Tenant
from tenants.scope import tenant_scope
from tests.factories import ACTOR
from tests.sandbox import Sandbox
from tests.workflows.lanes.helpers import people, start
from workflows import queries
from workflows.models import Lane, Record, Run
from workflows.operations import control_lane
from workflows.operations.control_run import cancel_run

pytestmark = pytest.mark.usefixtures("runner")


def limit(tenant: Tenant, rate: int, period: float, parallelism: int = 5) -> None:
    with tenant_scope(tenant):
        lane = Lane.objects.get(provider="prospeo")
        control_lane.pin_limits(
            lane_id=lane.pk, windows=[{"rate": rate, "period": period}], parallelism=parallelism, actor=ACTOR
        )


def rate(tenant: Tenant, vendors: Sandbox) -> Run:
    limit(tenant, 1, 3)
    return start(tenant, people(4, last="Nobody"))


def parallelism(tenant: Tenant, vendors: Sandbox) -> Run:
    limit(tenant, 1_000, 1, parallelism=1)
    vendors.fault("prospeo", "slow", seconds=2.0)
    return start(tenant, people(4, last="Nobody"))


def paused(tenant: Tenant, vendors: Sandbox) -> Run:
    with tenant_scope(tenant):
        control_lane.pause_lane(lane_id=Lane.objects.get(provider="prospeo").pk, actor=ACTOR)
    return start(tenant, people(2, last="Nobody"))


def cooldown(tenant: Tenant, vendors: Sandbox) -> Run:
    vendors.fault("prospeo", "rate_limit", count=1)
    limit(tenant, 1, 1)
    return start(tenant, people(4, last="Nobody"))


def backoff(tenant: Tenant, vendors: Sandbox) -> Run:
    vendors.fault("prospeo", "status_500", count=4)
    return start(tenant, people(4, last="Nobody"))


def breaker(tenant: Tenant, vendors: Sandbox) -> Run:
    vendors.fault("prospeo", "status_500")
    return start(tenant, people(40, last="Nobody"))


def budget(tenant: Tenant, vendors: Sandbox) -> Run:
    return start(tenant, people(10), credit_limit=2_000)


def turn(tenant: Tenant, vendors: Sandbox) -> Run:
    limit(tenant, 1, 3)
    start(tenant, people(6, last="Nobody"))
    return start(tenant, people(4, last="Noone"))


def duplicate(tenant: Tenant, vendors: Sandbox) -> Run:
    vendors.fault("prospeo", "slow", seconds=2.0, count=1)
    return start(tenant, [people(1)[0]] * 2)


@pytest.mark.parametrize(
    "because",
    [rate, parallelism, paused, cooldown, backoff, breaker, budget, turn, duplicate],
    ids=lambda f: f.__name__,
)
def test_a_waiting_step_says_why(
    tenant: Tenant, vendors: Sandbox, because: Callable[[Tenant, Sandbox], Run]
) -> None:
    run = because(tenant, vendors)
    reason, seen, deadline = because.__name__, set[str](), time.monotonic() + 15
    while reason not in seen and time.monotonic() < deadline:
        with tenant_scope(tenant):
            for record in Record.objects.filter(run=run):
                seen |= {step.wait_reason for step in queries.record_steps(record) if step.wait_reason}
            wait = queries.run_wait(run)
        seen |= {wait[0]} if wait else set()
        time.sleep(0.03)
    assert reason in seen
    with tenant_scope(tenant):
        for under_way in Run.objects.filter(finished_at=None):
            cancel_run(run_id=under_way.pk, actor=ACTOR)
