"""Limits under random prices, outcomes, deaths and changes: never passed, nothing stays reserved, all parked work ends."""

import os

import pytest

from integrations.connectors import registry
from tenants.models import Tenant
from tests.sandbox import Sandbox
from tests.workflows.money.trials import WORST, World


def run_trials(tenant: Tenant, monkeypatch: pytest.MonkeyPatch, *, seed: int, count: int) -> World:
    for provider, worst in WORST.items():
        monkeypatch.setattr(
            type(registry.get(provider)), "worst_credits", lambda self, operation, worst=worst: worst
        )
    world = World(tenant, seed)
    try:
        for number in range(count):
            world.trial()
            world.check()
            if number % 100 == 99:
                world.check_books()
        world.drain()
        world.check()
        world.check_books()
        assert world.used()[1] == 0, "nothing is reserved when nothing is under way"
        assert world.used()[0] >= world.truth
    finally:
        world.close()
    return world


@pytest.mark.chaos
@pytest.mark.timeout(400)
def test_no_limit_is_passed_whatever_happens(
    tenant: Tenant, vendors: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = run_trials(tenant, monkeypatch, seed=int(os.environ.get("WEIR_TEST_SEED", "20")), count=120)
    for word in ("sent", "parked", "crashes", "in doubt", "late"):
        assert world.seen[word] > 0, f"{word}: these trials show nothing about it"


@pytest.mark.campaign
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(5))
def test_no_limit_is_passed_in_ten_thousand_trials(
    tenant: Tenant, vendors: Sandbox, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Five worlds of 2,000 trials each."""
    world = run_trials(tenant, monkeypatch, seed=seed, count=2_000)
    print(
        f"\nseed {seed}: {dict(world.seen)}, books {world.used()[0] / 1000:,.3f}, vendors {world.truth / 1000:,.3f}"
    )
