"""Lanes with as many runs as they have work, and many lanes that come to life at once."""

import json
import os
import time
import uuid

import psycopg
import pytest
from django.db import DataError, connection

from integrations.models import Connection, ConnectionSecret
from tenants.ids import uuid7
from tenants.models import Tenant
from tenants.scope import tenant_scope
from tests.factories import make_connection, make_tenant
from tests.sandbox import Sandbox
from tests.workflows.lanes.hands import NOW, give, holder, run_in_lane
from tests.workflows.lanes.helpers import people, start, wait
from workflows.lanes import lease, ring, taking
from workflows.lanes.runner import Runner
from workflows.lanes.work import RunInLane, RunSeen
from workflows.models import Lane, LaneRun, LaneState, Run


def lane_of(tenant: Tenant, provider: str = "prospeo") -> uuid.UUID:
    with tenant_scope(tenant):
        return Lane.objects.get(provider=provider).pk


def several(count: int) -> list[Tenant]:
    """Tenants with all vendors of the waterfall."""
    tenants = [make_tenant(f"T{number}").tenant for number in range(count)]
    for tenant in tenants:
        for provider in ("prospeo", "findymail", "zerobounce"):
            make_connection(tenant, provider, mode="sandbox", secret=f"key-{provider}")
    return tenants


def seen(run: RunInLane, *, priority: int = 5, credit_limit: int | None = None, fed: bool = False) -> RunSeen:
    return RunSeen(run.id, priority, credit_limit, fed)


class TestRefreshing:
    def test_what_changed_of_a_known_run_is_taken_over(self) -> None:
        lane, run = holder(), run_in_lane(1)
        give(lane, [run], 0)
        lane.turns.poked = False
        assert not lane.refresh(lane.facts, [seen(run, priority=8, credit_limit=3)], NOW)
        assert (run.priority, run.facts.credit_limit, run.exhausted) == (8, 3, True)
        assert lane.refresh(lane.facts, [seen(run, fed=True)], NOW)
        assert (run.exhausted, lane.turns.poked) == (False, True)

    def test_what_is_told_of_a_run_that_was_forgotten_meanwhile_makes_none(self) -> None:
        lane = holder()
        assert not lane.refresh(lane.facts, [seen(run_in_lane(1), fed=True)], NOW)
        assert not lane.turns.runs

    def test_who_is_not_named_is_gone_only_where_all_are_named(self) -> None:
        lane, one, two = holder(), run_in_lane(1), run_in_lane(2)
        give(lane, [one], 1)
        assert lane.refresh(lane.facts, [two], NOW, whole=False)
        assert set(lane.turns.runs) == {one.id, two.id}
        assert not lane.refresh(lane.facts, [seen(two)], NOW, whole=False)
        assert lane.refresh(lane.facts, [seen(two)], NOW)
        assert set(lane.turns.runs) == {two.id}

    def test_of_many_runs_those_with_a_step_at_hand_are_not_asked_for(self) -> None:
        lane = holder()
        runs = [run_in_lane(number) for number in range(17)]
        give(lane, runs[:2], 1)
        assert lane.turns.with_work() == []
        give(lane, runs[2:], 0)
        assert lane.turns.with_work() == [runs[0].id, runs[1].id]


class TestLookingAgain:
    def test_known_runs_are_told_shortly_and_new_ones_whole(self, tenant: Tenant, vendors: Sandbox) -> None:
        old, new, left = (start(tenant, people(1), credit_limit=7000) for _ in range(3))
        lane_id = lane_of(tenant)
        with tenant_scope(tenant):
            LaneRun.objects.filter(run_id=old.pk).update(priority=2)
            Run.objects.filter(pk=old.pk).update(credit_limit=9000)
        facts, runs = lease.look_again([lane_id], {lane_id: {old.pk, left.pk}}, [(lane_id, left.pk)])
        whole_facts, whole = lease.look([lane_id])
        assert facts[lane_id].id == whole_facts[lane_id].id
        by_id = {run.id: run for run in runs[lane_id]}
        assert by_id == {
            old.pk: RunSeen(old.pk, 2, 9000, fed=True),
            new.pk: next(run for run in whole[lane_id] if run.id == new.pk),
        }

    def test_a_run_that_waits_in_one_lane_is_news_to_another(self, tenant: Tenant, vendors: Sandbox) -> None:
        run = start(tenant, people(1))
        one, two = lane_of(tenant), lane_of(tenant, "findymail")
        with tenant_scope(tenant):
            LaneRun.objects.create(
                tenant=tenant, lane_id=two, run_id=run.pk, state="active", priority=5, vtime=0
            )
        _, runs = lease.look_again([one, two], {one: {run.pk}, two: set()}, [(one, run.pk)])
        assert (runs[one], [type(found) for found in runs[two]]) == ([], [RunInLane])

    def test_who_is_not_active_is_not_told_of(self, tenant: Tenant, vendors: Sandbox) -> None:
        run = start(tenant, people(1))
        lane_id = lane_of(tenant)
        with tenant_scope(tenant):
            LaneRun.objects.update(state="paused")
        for known in (set(), {run.pk}):
            assert lease.look_again([lane_id], {lane_id: known}, [])[1] == {lane_id: []}


class TestTaking:
    def test_lanes_are_taken_together_but_for_those_of_others(self, committed: None) -> None:
        tenants = [make_tenant(name).tenant for name in ("Alpha", "Beta", "Gamma")]
        for tenant in tenants:
            make_connection(tenant, "prospeo", mode="sandbox", secret=f"key-of-{tenant.name}")
        lanes = [lane_of(tenant) for tenant in tenants]
        assert lease.acquire(lanes[1], uuid7())
        taken, _ = taking.take(lanes, mine := uuid7())
        assert {lane.facts.id: lane.secret and lane.secret.reveal() for lane in taken} == {
            lanes[0]: "key-of-Alpha",
            lanes[2]: "key-of-Gamma",
        }
        for tenant, held in zip(tenants, (True, False, True), strict=True):
            with tenant_scope(tenant):
                assert (LaneState.objects.get().holder == mine) is held

    def test_what_is_wrong_with_one_is_no_others_fault(
        self, committed: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tenants = [make_tenant(name).tenant for name in ("Alpha", "Beta")]
        for tenant in tenants:
            make_connection(tenant, "prospeo", mode="sandbox")
        lanes = [lane_of(tenant) for tenant in tenants]
        opened = taking.open_key

        def fault(facts: lease.LaneFacts) -> taking.OpenedKey | None:
            if facts.id == lanes[0]:
                raise Connection.DoesNotExist
            return opened(facts)

        monkeypatch.setattr(taking, "open_key", fault)
        assert [lane.facts.id for lane in taking.take(lanes, uuid7())[0]] == [lanes[1]]

    @pytest.mark.parametrize(
        "fault", ["unknown vendor", "an error that lasts", "unreadable, and its row is locked"]
    )
    def test_a_lane_that_cannot_be_held_holds_up_no_other(
        self, vendors: Sandbox, monkeypatch: pytest.MonkeyPatch, fault: str
    ) -> None:
        tenants = several(3)
        runs = [start(tenant, people(1)) for tenant in tenants]
        bad, opened = lane_of(tenants[0]), taking.open_key

        def failing(facts: lease.LaneFacts) -> taking.OpenedKey | None:
            if facts.id == bad:
                raise DataError("invalid page")
            return opened(facts)

        if fault == "unknown vendor":
            with tenant_scope(tenants[0]):
                Lane.objects.filter(pk=bad).update(provider="of-the-next-release")
        elif fault == "an error that lasts":
            monkeypatch.setattr(taking, "open_key", failing)
        with psycopg.connect(
            os.environ["DATABASE_ADMIN_URL"], dbname=connection.settings_dict["NAME"]
        ) as other:
            if fault.startswith("unreadable"):
                with tenant_scope(tenants[0]):
                    ConnectionSecret.objects.filter(connection__provider="prospeo").update(
                        sealed=b"not sealed"
                    )
                other.execute("SELECT 1 FROM lane WHERE id = %s FOR UPDATE", [bad])
            runner = Runner()
            runner.start()
            try:
                for run in runs[1:]:
                    wait(run, seconds=6)
            finally:
                other.rollback()
                runner.stop()

    def test_lanes_for_which_there_is_no_time_are_given_back(
        self, vendors: Sandbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        opened = taking.open_key

        def slow(facts: lease.LaneFacts) -> taking.OpenedKey | None:
            time.sleep(0.06)
            return opened(facts)

        monkeypatch.setattr(taking, "OPENING_S", 0.05)
        monkeypatch.setattr(taking, "open_key", slow)
        lanes = [lane_of(tenant) for tenant in several(4)]
        told = {"60:": [[5.0, 2]], "last": {"": [1.5]}, lease.WRITTEN_AT: 4.0}
        lease.acquire_all(lanes[:3], before := uuid7())
        lease.renew(before, [lease.Report(one, 0, 0, "", 0.0, 1.0, json.dumps(told)) for one in lanes[:3]])
        lease.release(lanes[:3], before)
        time.sleep(0.3)
        taken, late = taking.take(lanes, uuid7())
        assert len(taken) == 1
        assert {taken[0].facts.id, *late} == set(lanes)
        found = lease.acquire_all(lanes, uuid7())
        assert set(found) == set(late)
        for lane_id, (facts, _, quiet_s) in found.items():
            if lane_id == lanes[3]:
                assert (facts.starts, quiet_s) == ({}, None), "never held"
            else:
                assert facts.starts == told
                assert quiet_s is not None
                assert quiet_s >= 0.3

    def test_more_lanes_than_are_taken_at_once_all_come_to_life(
        self, vendors: Sandbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("workflows.lanes.fleet.TAKEN_AT_ONCE", 1)
        monkeypatch.setattr("workflows.lanes.fleet.MOST_TAKEN", 2)
        monkeypatch.setattr("workflows.lanes.loops.SWEEP_EVERY_S", 60.0)
        runs = [start(tenant, people(1)) for tenant in several(7)]
        runner = Runner()
        runner.start()  # its first sweep finds them all
        try:
            for run in runs:
                wait(run)
        finally:
            runner.stop()

    def test_two_workers_share_lanes_that_come_to_life_together(
        self, vendors: Sandbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """One hears of all of them first."""
        monkeypatch.setattr("workflows.lanes.fleet.MOST_TAKEN", 2)
        monkeypatch.setattr("workflows.lanes.fleet.FEW_LANES", 2)
        monkeypatch.setattr("workflows.lanes.fleet.WAIT_MOST_S", 0.5)
        monkeypatch.setattr("workflows.lanes.fleet.WAIT_A_LANE_S", 0.1)
        monkeypatch.setattr("workflows.lanes.loops.SWEEP_EVERY_S", 60.0)
        monkeypatch.setattr("workflows.lanes.driver.IDLE_RELEASE_S", 60.0)
        one, other = Runner(), Runner()
        for runner in (one, other):
            runner.start()
        ring.hosts_runner(one.tell)
        tenants = several(12)
        time.sleep(1.0)  # both have swept, and listen
        try:
            runs = [start(tenant, people(1)) for tenant in tenants]
            for run in runs:
                wait(run)
            held = [len(runner.lanes) for runner in (one, other)]
        finally:
            one.stop()
            other.stop()
        assert sum(held) >= 12
        assert min(held) >= 4
