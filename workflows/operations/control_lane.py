"""Lanes: made with their connection, paused, resumed, and given other limits while work waits."""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from integrations.connectors import registry
from integrations.models import Connection
from integrations.operations import clean_windows
from tenants import audit
from tenants.errors import Conflict, InvalidInput, NotFound
from tenants.scope import require_tenant_id, tenant_scope
from workflows import telling
from workflows.models import Lane, LaneState, Run


def ensure_lane(*, connection: Connection, actor: str) -> Lane:
    """The lane of a connection: made with it, and following its limits for as long as none were pinned."""
    with tenant_scope(require_tenant_id()):
        lane = Lane.objects.filter(connection=connection).first()
        if lane is None:
            lane = Lane.objects.create(
                connection=connection,
                provider=connection.provider,
                key_hint=connection.secret_hint,
                windows=connection.windows,
                parallelism=connection.parallelism,
            )
            LaneState.objects.create(lane=lane)
        elif not lane.pinned:
            lane.windows, lane.parallelism = connection.windows, connection.parallelism
            lane.key_hint = connection.secret_hint
            lane.save(update_fields=["windows", "parallelism", "key_hint"])
    return lane


def pause_lane(*, lane_id: uuid.UUID, actor: str, reason: str = "person") -> Lane:
    """Stop starting calls in a lane; those in flight are finished. In effect within 2 s."""
    return _set_paused(lane_id, paused=True, reason=reason, actor=actor)


def resume_lane(*, lane_id: uuid.UUID, actor: str) -> Lane:
    """Let a paused lane go on; work that waited goes first."""
    return _set_paused(lane_id, paused=False, reason="", actor=actor)


def go_on_with_new_key(*, connection: Connection, actor: str) -> None:
    """Show a connection's new key on its lane, and resume the lane if it was the old key that stopped it."""
    with tenant_scope(require_tenant_id()):
        lane = Lane.objects.filter(connection=connection).first()
        if lane is None:
            return
        if lane.key_hint != connection.secret_hint:
            lane.key_hint = connection.secret_hint
            lane.save(update_fields=["key_hint"])
        if lane.paused and lane.pause_reason in ("auth_failed", "no_credits"):
            resume_lane(lane_id=lane.pk, actor=actor)


def pin_limits(
    *, lane_id: uuid.UUID, windows: Sequence[Mapping[str, Any]] | None, parallelism: int | None, actor: str
) -> Lane:
    """Give a lane other limits than its connection's. Raises InvalidInput and NotFound. In effect within 2 s."""
    with tenant_scope(require_tenant_id()):
        lane = _locked(lane_id)
        if windows is not None:
            lane.windows = clean_windows(windows)
        if parallelism is not None:
            if not 1 <= parallelism <= 1_000:
                raise InvalidInput("Parallelism is the number of calls in flight: 1 to 1,000.")
            lane.parallelism = parallelism
        lane.pinned = True
        lane.save(update_fields=["windows", "parallelism", "pinned"])
        audit.record(
            actor=actor, verb="lane.pinned", subject=lane, windows=lane.windows, parallelism=lane.parallelism
        )
    return lane


def stop_for_good(*, connection: Connection, actor: str) -> None:
    """Pause the lane of a connection that is being removed. Raises Conflict while runs that are under way ask it: a run
    that is accepted in this very moment waits in the paused lane, and says so."""
    lane = Lane.objects.select_for_update().get(connection=connection)
    asking = Run.objects.filter(finished_at=None, **{f"lanes__{connection.provider}": str(lane.pk)}).count()
    if asking:
        runs = "1 run that is" if asking == 1 else f"{asking:,} runs that are"
        raise Conflict(
            f"{runs} under way will ask this connection. Let them end, or cancel them, then remove it."
        )
    lane.paused, lane.pause_reason = True, "removed"
    lane.save(update_fields=["paused", "pause_reason"])


def ask_together(*, lane_id: uuid.UUID, on: bool, actor: str) -> Lane:
    """Have a lane ask several questions in one call where that helps, or each alone. Raises InvalidInput where the vendor
    has no endpoint for it, and NotFound. In effect within 2 s."""
    with tenant_scope(require_tenant_id()):
        lane = _locked(lane_id)
        connector = registry.get(lane.provider)
        if on and not connector.bulk:
            raise InvalidInput(f"{connector.title} answers one question a call.")
        lane.bulk = on
        lane.save(update_fields=["bulk"])
        audit.record(actor=actor, verb="lane.together" if on else "lane.alone", subject=lane)
    return lane


def _set_paused(lane_id: uuid.UUID, *, paused: bool, reason: str, actor: str) -> Lane:
    with tenant_scope(require_tenant_id()):
        lane = _locked(lane_id)
        news = paused and not lane.paused
        lane.paused, lane.pause_reason = paused, reason
        lane.save(update_fields=["paused", "pause_reason"])
        if not paused:
            Connection.objects.filter(pk=lane.connection_id).update(status=Connection.Status.OK)
        audit.record(
            actor=actor, verb="lane.paused" if paused else "lane.resumed", subject=lane, reason=reason
        )
        if news:
            telling.lane_paused(lane, reason=reason)
    return lane


def _locked(lane_id: uuid.UUID) -> Lane:
    lanes = Lane.objects.select_for_update(of=("self",)).filter(connection__removed_at=None)
    lane = lanes.filter(pk=lane_id).first()
    if lane is None:
        raise NotFound("There is no such lane.")
    return lane
