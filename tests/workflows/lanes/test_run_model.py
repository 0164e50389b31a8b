"""Whatever people, vendors, crashes and the clock do to a run in whatever order: its books balance after each step, and
left alone it ends (tests/workflows/lanes/run_model.py)."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tenants.models import Tenant
from tenants.scope import tenant_scope
from tests.workflows.lanes.run_model import PROVIDERS, RunModel
from workflows.lanes import ring
from workflows.models import Lane


@pytest.fixture
def model(tenant: Tenant, committed: None, connect: Callable[..., Any]) -> Iterator[type[RunModel]]:
    for provider in PROVIDERS:
        connect(provider, secret=f"key-{provider}", mode="sandbox", windows=[], parallelism=20)
    with tenant_scope(tenant):
        RunModel.lanes = {lane.provider: lane for lane in Lane.objects.all()}
    RunModel.tenant = tenant
    ring.hosts_runner(lambda tenant_id, lane_id: None)
    yield RunModel
    ring.hosts_runner(None)


def play(model: type[RunModel], examples: int, steps: int) -> None:
    run_state_machine_as_test(
        model,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.chaos
def test_the_books_of_a_run_balance_whatever_happens(model: type[RunModel]) -> None:
    play(model, 8, 30)


@pytest.mark.campaign
def test_the_books_of_two_thousand_runs_balance_whatever_happens(model: type[RunModel]) -> None:
    play(model, 2_000, 50)
