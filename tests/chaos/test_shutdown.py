"""SIGTERM of a real worker: no new calls, those in flight are finished and settled, the rest is left as it was."""

import os
import signal
import time
from typing import TYPE_CHECKING

import pytest

from tests.factories import make_connection, make_tenant
from tests.workflows.lanes.helpers import people, start, wait

if TYPE_CHECKING:
    from tests.chaos.crew import Crew
    from tests.sandbox import Sandbox

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(120)]
PROVIDERS = ("prospeo", "findymail", "zerobounce")
SLOW_S = 2.0


def test_a_worker_that_is_asked_to_end_finishes_its_calls_and_starts_none(
    sandbox: "Sandbox", crew: "Crew"
) -> None:
    from tenants.scope import tenant_scope
    from workflows.models import LaneState, Step, StepQueue

    tenant = make_tenant().tenant
    for provider in PROVIDERS:
        make_connection(tenant, provider, secret=f"key-{provider}", windows=[], parallelism=4)
    sandbox.fault("prospeo", "slow", seconds=SLOW_S)
    worker = crew.start(celery=True, call_s=20, lease_s=10)
    run = start(tenant, people(12))

    def in_flight() -> int:
        return sum(call["outcome"] == "pending" for call in sandbox.calls(provider="prospeo"))

    deadline = time.monotonic() + 20
    while in_flight() < 4 and time.monotonic() < deadline:
        time.sleep(0.02)
    asked = time.monotonic()
    os.kill(worker.pid, signal.SIGTERM)
    before = len(sandbox.calls(provider="prospeo"))
    assert crew.wait_for_end(worker, seconds=30) == 0
    assert time.monotonic() - asked < 20, "within the longest call's deadline"
    assert time.monotonic() - asked > SLOW_S / 2, "the calls in flight were waited for"

    calls = sandbox.calls()
    assert len(calls) == before == 4, "nothing was sent after the signal"
    assert in_flight() == 0
    with tenant_scope(tenant):
        # Each answer that was paid for is in the books; nothing is left stamped, nothing is in doubt.
        assert Step.objects.filter(run_id=run.pk, status="done", provider="prospeo").count() == 4
        assert not StepQueue.objects.filter(sent_at__isnull=False).exists()
        assert StepQueue.objects.filter(run_id=run.pk).count() == 12
        assert not LaneState.objects.exclude(holder=None).exists(), "the lanes were given back"

    sandbox.control("DELETE", "faults")
    crew.start(celery=True)
    assert wait(run, seconds=60).found == 12
    assert sandbox.summary()["prospeo"]["repeated"] == 0
