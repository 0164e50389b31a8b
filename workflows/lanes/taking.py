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
    secret: Secret | None = None
    paused = False
    with tenant_scope(facts.tenant_id):
        connection = Connection.objects.get(pk=facts.connection_id)
        url = base_url(connection)
        try:
            secret = open_connection_secret(connection)
        except MasterKeyMissing as error:
            # Nothing is wrong with the tenant's key: whoever has the master key may take the lane.
            log.error("master_key_missing", lane_id=str(lane_id), why=error.why)  # noqa: TRY400
            lease.release([lane_id], holder)
            return None
        except VaultError as error:
            log.warning("secret_unreadable", lane_id=str(lane_id), why=error.detail)
            unreadable = error.detail
    if secret is None:
        paused = pause_for_trouble(lane_id, facts.tenant_id, "auth_failed", unreadable)
    now, runs = lease.look([lane_id])  # with the pause, if there was one
    fresh = replace(now.get(lane_id, facts), starts=facts.starts)
    return LaneTaken(fresh, foreign, quiet_s, secret, url, runs[lane_id], paused)
