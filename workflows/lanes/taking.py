"""Taking a lane over: its lease, its key, and the runs that have work in it."""

import uuid
from dataclasses import dataclass, replace

import structlog

from integrations.errors import MasterKeyMissing, VaultError
from integrations.models import Connection
from integrations.queries import base_url
from integrations.vault import open_connection_secret
from tenants.scope import tenant_scope
from tenants.secret import Secret
from workflows.lanes import lease
from workflows.lanes.work import RunInLane
from workflows.operations.note_lane import pause_for_trouble

log = structlog.get_logger(__name__)


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


def take(lane_id: uuid.UUID, holder: uuid.UUID) -> LaneTaken | None:
    """Lease a lane and open its key; None when another process has it, or no master key opens it here."""
    taken = lease.acquire(lane_id, holder)
    if taken is None:
        return None
    facts, foreign, quiet_s = taken
    key = open_key(facts)
    if key is None:
        lease.release([lane_id], holder)
        return None
    now, runs = lease.look([lane_id])  # with the pause, if there was one
    fresh = replace(now.get(lane_id, facts), starts=facts.starts)
    return LaneTaken(fresh, foreign, quiet_s, key.secret, key.base_url, runs[lane_id], key.paused_now)


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
    paused = pause_for_trouble(facts.id, facts.tenant_id, "auth_failed", unreadable)
    return OpenedKey(connection.key_hash, None, url, paused)
