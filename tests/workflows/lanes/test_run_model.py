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
@pytest.mark.timeout(300)
def test_the_books_of_a_run_balance_whatever_happens(model: type[RunModel]) -> None:
    play(model, 10, 25)


@pytest.mark.campaign
def test_the_books_of_two_thousand_runs_balance_whatever_happens(model: type[RunModel]) -> None:
    play(model, 2_000, 50)


def test_a_story_that_is_told_by_hand_balances_too(model: type[RunModel]) -> None:
    """What each short form has to meet: limits, answers of every kind, a crash and its late answer, a cancelled rest."""
    run = model()
    run.accept(size=4, twins=False, limit=9)
    for answer in ("hit", "error", "limited"):
        run.answer(which=0, answer=answer, torn=True)
        run.holds()
    run.take(provider="zerobounce", count=1, torn=True)
    run.crash(provider="zerobounce")
    run.recover(provider="zerobounce")
    run.holds()
    run.wake_up(which=0, answer="hit")
    run.holds()
    run.cancel(sure=0)
    run.holds()
    run.teardown()


def test_a_story_of_a_paused_run_that_was_to_ask_first(model: type[RunModel]) -> None:
    run = model()
    run.accept(size=1, twins=False, limit=None, others=1)
    run.answer(which=0, answer="error", torn=True)
    run.person("pause", 0)
    run.holds()
    run.teardown()


def test_a_story_of_a_repeat_for_nothing_at_the_limit(model: type[RunModel]) -> None:
    run = model()
    run.accept(size=2, twins=False, limit=1)
    run.answer(which=0, answer="slow", torn=False)
    run.time_passes()
    run.take(provider="prospeo", count=3, torn=True)
    run.holds()
    run.answer(which=0, answer="miss", torn=True)
    run.holds()
    run.teardown()


@pytest.mark.parametrize("what", ["person", "domain", "address"])
def test_a_story_of_somebody_who_comes_onto_the_list_in_the_last_moment(
    model: type[RunModel], what: str
) -> None:
    run = model()
    run.accept(size=1, twins=True, limit=None, others=1)
    run.answer(which=0, answer="hit", torn=True)
    run.take(provider="zerobounce", count=3)
    run.suppress(whom=0, what=what)
    run.answer(which=0, answer="hit", torn=True)
    run.holds()
    run.suppress(whom=0, what="off")
    run.person("retry", 0)
    run.teardown()
