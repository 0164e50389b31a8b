"""What a runner does again and again beside its flushes: renewing leases, looking, sweeping, asking for balances."""

import asyncio
import time
import uuid

import structlog
from django.db import Error as DatabaseError

from workflows.lanes import balance, lease, sweep
from workflows.lanes.desk import Desk
from workflows.lanes.fleet import Fleet
from workflows.operations.note_lane import tell_low_balance

log = structlog.get_logger(__name__)

LOOK_EVERY_S = 0.75
RENEW_EVERY_S = 1.0
SWEEP_EVERY_S = 1.0
BALANCE_EVERY_S = 20.0


class Loops:
    """Lives on the runner's loop; each of `all` runs until it is cancelled."""

    def __init__(self, fleet: Fleet, desk: Desk) -> None:
        self._fleet, self._desk = fleet, desk
        self.all = (self._renew, self._look, self._sweep, self._balances)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(RENEW_EVERY_S)
            lanes = list(self._fleet.lanes.values())
            if not lanes:
                continue
            before = time.monotonic()
            try:
                reports = [lane.report(before) for lane in lanes]
                renewed, unknown = await self._desk.lease_database(
                    lease.renew_all, self._desk.holder, reports
                )
            except DatabaseError as error:
                log.warning("leases_not_renewed", error=type(error).__name__)
                continue
            for lane in lanes:
                if lane.facts.id in renewed:
                    lane.held_until = before + lease.LEASE_S * lease.SAFE_SHARE
                elif lane.facts.id not in unknown and self._fleet.lanes.get(lane.facts.id) is lane:
                    log.warning("lane_lost", lane_id=str(lane.facts.id))
                    self._fleet.lose(lane)

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            if self._fleet.lanes:
                await self._fleet.look(list(self._fleet.lanes))
                await self._note_healthy()

    async def _note_healthy(self) -> None:
        healthy = [lane for lane in self._fleet.lanes.values() if lane.answered_ok]
        if not healthy:
            return
        for lane in healthy:
            lane.answered_ok = False
        try:
            await self._desk.database(lease.note_ok, [lane.facts.connection_id for lane in healthy])
        except DatabaseError as error:
            log.warning("health_not_noted", error=type(error).__name__)

    async def _balances(self) -> None:
        """Ask vendors what keys have left: lanes without credits go on by themselves, low balances are told of."""
        desk = self._desk
        while True:
            await asyncio.sleep(BALANCE_EVERY_S)
            try:
                for asked in await desk.database(balance.due, self._that_spent_much()):
                    told = await desk.client.balance(
                        asked.connector, secret=asked.secret, base_url=asked.base_url
                    )
                    await desk.database(balance.answered, asked, told)
                    if await desk.database(balance.low_since, asked):
                        await desk.aside(tell_low_balance, asked.lane_id, asked.tenant_id)
            except DatabaseError as error:
                log.warning("balance_not_asked", error=type(error).__name__)

    def _that_spent_much(self) -> list[uuid.UUID]:
        found = [lane for lane in self._fleet.lanes.values() if lane.spent >= balance.MUCH]
        for lane in found:
            lane.spent = 0
        return [lane.facts.id for lane in found]

    async def _sweep(self) -> None:
        while True:
            try:
                found = await self._desk.database(sweep.look)
                for _, lane_id in found.lanes:
                    self._fleet.poke(lane_id)
                await self._desk.database(sweep.see_to, found)
            except DatabaseError as error:
                log.warning("sweep_failed", error=type(error).__name__)
            await asyncio.sleep(SWEEP_EVERY_S)
