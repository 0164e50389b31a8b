"""Taking lanes over: their leases, their keys, and the runs that have work in them."""

import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import structlog
from django.db import Error as DatabaseError
from django.db import connections

from integrations.errors import MasterKeyMissing, VaultError
from integrations.models import Connection
from integrations.queries import base_url
from integrations.vault import open_connection_secret
from tenants.scope import APP_ALIAS, tenant_scope
from tenants.secret import Secret
from workflows.lanes import lease, salvage
from workflows.lanes.work import RunInLane
from workflows.operations.note_lane import pause_for_trouble

log = structlog.get_logger(__name__)

OPENING_S = 2.0
"""For so long are keys opened of lanes that are taken together: none of them is renewed until they are held."""
PAUSE_WAIT = "1s"


@dataclass(frozen=True)
class LaneTaken:
    """A lane just taken, and what its holder needs."""

    facts: lease.LaneFacts
    foreign: list[lease.Foreign]
    quiet_s: float | None
    secret: Secret | None
    base_url: str
    runs: list[RunInLane]
    paused_now: bool  # its secret could not be opened


def take(lane_ids: Sequence[uuid.UUID], holder: uuid.UUID) -> tuple[list[LaneTaken], list[uuid.UUID]]:
    """Lease these lanes and open their keys; those that another process has, or whose key no master key opens here, are
    left out. Those for which OPENING_S was too short are given back: they are named beside. Raises django.db.Error; what
    was leased by then lapses, as does a lane that something is wrong with.

    Together: with a hundred lanes that come to life at once, each on its own would wait for all before it.
    """
    began = time.monotonic()
    acquired = lease.acquire_all(lane_ids, holder)
    opened: dict[uuid.UUID, OpenedKey] = {}
    unopened, late = [], []
    for lane_id, (facts, _, _) in acquired.items():
        if opened and time.monotonic() - began > OPENING_S:
            late.append(lane_id)
            continue
        try:
            key = open_key(facts)
        except Exception as error:
            if isinstance(error, DatabaseError) and salvage.is_away(error):
                raise
            log.exception("lane_not_opened", lane_id=str(lane_id))  # no other's fault
            continue
        if key is None:
            unopened.append(lane_id)
        else:
            opened[lane_id] = key
    if unused := [acquired[lane_id] for lane_id in (*unopened, *late)]:
        lease.give_back(unused, holder)
    return _with_runs(opened, acquired), late


def _with_runs(
    opened: dict[uuid.UUID, "OpenedKey"], acquired: Mapping[uuid.UUID, lease.Acquired]
) -> list[LaneTaken]:
    if not opened:
        return []
    try:
        now, runs = lease.look(list(opened))  # with the pauses, if there were any
    except DatabaseError as error:
        if len(opened) == 1 or salvage.is_away(error):
            raise
        found = []
        for lane_id, key in opened.items():
            with suppress(DatabaseError):
                found += _with_runs({lane_id: key}, acquired)
        return found
    taken = []
    for lane_id, key in opened.items():
        facts, foreign, quiet_s = acquired[lane_id]
        fresh = replace(now.get(lane_id, facts), starts=facts.starts)
        taken.append(
            LaneTaken(fresh, foreign, quiet_s, key.secret, key.base_url, runs[lane_id], key.paused_now)
        )
    return taken


@dataclass(frozen=True)
class OpenedKey:
    """What a lane's connection has now. `secret` None: it cannot be opened, and the lane is paused for it."""

    key_hash: str
    secret: Secret | None
    base_url: str
    paused_now: bool = False


def open_key(facts: lease.LaneFacts) -> OpenedKey | None:
    """The key that a leased lane calls with; None when no master key opens it here."""
    with tenant_scope(facts.tenant_id):
        connection = Connection.objects.get(pk=facts.connection_id)
        url = base_url(connection)
        try:
            return OpenedKey(connection.key_hash, open_connection_secret(connection), url)
        except MasterKeyMissing as error:
            # Nothing is wrong with the tenant's key: whoever has the master key may take the lane.
            log.error("master_key_missing", lane_id=str(facts.id), why=error.why)  # noqa: TRY400
            return None
        except VaultError as error:
            log.warning("secret_unreadable", lane_id=str(facts.id), why=error.detail)
            unreadable = error.detail
    with tenant_scope(facts.tenant_id), connections[APP_ALIAS].cursor() as cursor:
        cursor.execute(f"SET LOCAL lock_timeout = '{PAUSE_WAIT}'")
        paused = pause_for_trouble(facts.id, facts.tenant_id, "auth_failed", unreadable)
    return OpenedKey(connection.key_hash, None, url, paused)
