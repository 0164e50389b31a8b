"""Writing down what came of attempts, and what it says about their endpoints. One transaction for each tenant.

Lock order: endpoints by id, then deliveries. Deliveries are fenced by their holder: an attempt whose lease ended before
its answer came is kept in the log, and changes nothing else.
"""

import uuid
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import structlog
from django.db import InterfaceError, OperationalError, connections
from django.utils import timezone

from integrations.models import WebhookEndpoint
from integrations.webhooks import claim, schedule
from integrations.webhooks.lanes import rest_of
from integrations.webhooks.operations import disable_for_trouble
from integrations.webhooks.post import Attempted
from tenants.failpoints import reach
from tenants.ids import uuid7
from tenants.scope import APP_ALIAS, is_away, tenant_scope

GONE = 410
UNTRIED_AGAIN_S = 10.0
log = structlog.get_logger(__name__)


def settle(attempts: Sequence[Attempted]) -> list[Attempted]:
    """Write these down, tenant by tenant; returns those to be handed in again, as the database did not take them now.

    What cannot be written for another reason is logged and let go: it is due again when its lease ends.
    """
    tenants: dict[uuid.UUID, list[Attempted]] = defaultdict(list)
    for attempted in attempts:
        tenants[attempted.job.tenant_id].append(attempted)
    again: list[Attempted] = []
    for tenant_id in sorted(tenants):
        theirs = tenants.pop(tenant_id)
        try:
            _settle(tenant_id, theirs)
        except (OperationalError, InterfaceError) as error:
            log.warning("webhooks_not_settled", tenant=str(tenant_id), error=str(error)[:200])
            again += theirs
            if is_away(APP_ALIAS):
                return again + [attempted for several in tenants.values() for attempted in several]
        except Exception:
            log.exception("webhooks_not_settled", tenant=str(tenant_id))
    reach("webhook.settled")
    return again


def _settle(tenant_id: uuid.UUID, attempts: Sequence[Attempted]) -> None:
    tried = [a for a in attempts if not a.untried]
    untried = [a.job for a in attempts if a.untried]
    with tenant_scope(tenant_id), connections[APP_ALIAS].cursor() as cursor:
        # What somebody is writing is waited for a little, as all other tenants wait with it.
        cursor.execute("SELECT set_config('lock_timeout', '1s', true)")
        endpoints = _lock(tried)
        mine = _move(cursor, tenant_id, tried)
        _log(cursor, tenant_id, tried)
        _judge(endpoints, [a for a in tried if a.job.delivery_id in mine])
        if untried:
            claim.put_back(
                tenant_id, [job.delivery_id for job in untried], [job.holder for job in untried],
                after_s=UNTRIED_AGAIN_S, why="",
            )  # fmt: skip
        reach("webhook.settling")


def _lock(attempts: Sequence[Attempted]) -> dict[uuid.UUID, WebhookEndpoint]:
    wanted = {a.job.endpoint_id for a in attempts if not a.job.callback}
    rows = WebhookEndpoint.objects.filter(pk__in=wanted).order_by("id").select_for_update(no_key=True)
    return {row.pk: row for row in rows}


def _move(cursor: Any, tenant_id: uuid.UUID, attempts: Sequence[Attempted]) -> set[uuid.UUID]:
    """Say of each delivery where it stands; returns those that are still ours to say it of. One whose endpoint was switched
    off meanwhile is kept for when it is on again, unless it is over."""
    rows = []
    for a in attempts:
        delay = None
        if not a.ok and not (a.job.callback and a.http_status == GONE):
            delay = schedule.next_delay(a.job.tries + 1, a.retry_after)
        status = "delivered" if a.ok else "exhausted" if delay is None else "waiting"
        rows.append(
            (a.job.delivery_id, a.job.holder, status, delay, a.http_status, a.error[:120], a.started_at)
        )
    cursor.execute(
        """UPDATE integrations_webhookdelivery d
           SET status = CASE WHEN t.status = 'waiting' THEN d.status ELSE t.status END,
               holder = NULL, tries = d.tries + 1, attempts = d.attempts + 1,
               due_at = CASE WHEN d.status = 'waiting' THEN clock_timestamp() + t.delay * interval '1 second' END,
               last_status = t.http_status,
               last_error = t.error, last_at = t.at,
               finished_at = CASE WHEN t.delay IS NULL THEN clock_timestamp() END
           FROM unnest(%s::uuid[], %s::uuid[], %s::text[], %s::float[], %s::int[], %s::text[], %s::timestamptz[])
                t(id, holder, status, delay, http_status, error, at)
           WHERE d.tenant_id = %s AND d.id = t.id AND d.holder = t.holder RETURNING d.id""",
        [*([row[place] for row in rows] for place in range(7)), tenant_id],
    )
    return {row[0] for row in cursor.fetchall()}


def _log(cursor: Any, tenant_id: uuid.UUID, attempts: Sequence[Attempted]) -> None:
    cursor.execute(
        """INSERT INTO integrations_webhookattempt
                  (id, tenant_id, delivery_id, number, started_at, latency_ms, http_status, error, answer)
           SELECT t.id, d.tenant_id, d.id, t.number, t.at, t.latency, t.http_status, t.error, t.answer
           FROM unnest(%s::uuid[], %s::uuid[], %s::int[], %s::timestamptz[], %s::int[], %s::int[], %s::text[], %s::text[])
                t(id, delivery_id, number, at, latency, http_status, error, answer)
           JOIN integrations_webhookdelivery d ON d.id = t.delivery_id AND d.tenant_id = %s""",
        [
            [uuid7() for _ in attempts],
            [a.job.delivery_id for a in attempts],
            [a.job.attempts + 1 for a in attempts],
            [a.started_at for a in attempts],
            [a.latency_ms for a in attempts],
            [a.http_status for a in attempts],
            [a.error[:120] for a in attempts],
            [a.answer for a in attempts],
            tenant_id,
        ],
    )


def _judge(endpoints: dict[uuid.UUID, WebhookEndpoint], attempts: Sequence[Attempted]) -> None:
    now = timezone.now()
    theirs: dict[uuid.UUID, list[Attempted]] = defaultdict(list)
    for a in attempts:
        if a.job.endpoint_id in endpoints:
            theirs[a.job.endpoint_id].append(a)
    changed = []
    for endpoint_id, several in theirs.items():
        endpoint = endpoints[endpoint_id]
        before = _health(endpoint)
        for a in several:
            weigh(endpoint, a, now)
        if _health(endpoint) != before:
            changed.append(endpoint)
        if any(a.http_status == GONE for a in several):
            disable_for_trouble(endpoint, WebhookEndpoint.Reason.GONE)
        elif is_hopeless(endpoint, now):
            disable_for_trouble(endpoint, WebhookEndpoint.Reason.FAILING)
    WebhookEndpoint.objects.bulk_update(
        changed, ["failures", "failing_since", "rest_until", "last_ok_at", "notice", "warned_at"]
    )


def weigh(endpoint: WebhookEndpoint, attempted: Attempted, now: datetime) -> None:
    """What an attempt says about its endpoint. Changes the object alone."""
    if attempted.ok:
        # To the minute: a busy endpoint's row is not written for each thing that it takes.
        if (
            endpoint.last_ok_at is None
            or now - endpoint.last_ok_at > timedelta(minutes=1)
            or endpoint.failures
        ):
            endpoint.last_ok_at = now
        endpoint.failures, endpoint.failing_since, endpoint.rest_until, endpoint.warned_at = (
            0,
            None,
            None,
            None,
        )
        return
    endpoint.failures += 1
    endpoint.failing_since = endpoint.failing_since or now
    seconds = rest_of(endpoint.failures, attempted)
    if seconds:
        endpoint.rest_until = now + timedelta(seconds=seconds)
    long = now - endpoint.failing_since >= schedule.WARN_AFTER
    if long and endpoint.warned_at is None and endpoint.failures >= schedule.LEAST_FAILURES // 2:
        endpoint.warned_at, endpoint.notice = now, WebhookEndpoint.Notice.FAILING


def is_hopeless(endpoint: WebhookEndpoint, now: datetime) -> bool:
    """Whether an endpoint has failed for days, without one success between."""
    return (
        endpoint.failing_since is not None
        and now - endpoint.failing_since >= schedule.DISABLE_AFTER
        and endpoint.failures >= schedule.LEAST_FAILURES
    )


def _health(endpoint: WebhookEndpoint) -> tuple[Any, ...]:
    return endpoint.failures, endpoint.rest_until, endpoint.last_ok_at, endpoint.notice
