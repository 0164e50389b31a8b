"""Writing events down, in the transaction of what they tell about. Set-based: three statements for any number of events.

Lock order: an endpoint's row is shared (FOR KEY SHARE) until the transaction ends, so that it is not deleted under what is
written for it; nothing here waits for anything else.
"""

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import orjson
from django.db import connections, transaction
from django.utils import timezone

from tenants import signals
from tenants.ids import uuid7
from tenants.scope import APP_ALIAS, require_tenant_id

LISTENED = """EXISTS (SELECT 1 FROM integrations_webhookendpoint e
                      WHERE e.tenant_id = {tenant} AND e.status = 'enabled' AND e.kind = 'endpoint'{more})"""
"""Whether a tenant has an endpoint, in SQL: for a statement that is made anyway. `more` narrows it down."""

_Row = tuple[uuid.UUID, str, Any]


class _Process:
    """Who sends in this process: nobody, outside a worker."""

    wake: Callable[[], None] | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, as it is told. One with a `callback_url` is told there too, whoever else listens."""

    name: str
    data: Mapping[str, Any]
    key: str = ""
    callback_url: str = ""


def register() -> None:
    """Have what other apps emit written down."""
    signals.tenant_event.connect(_emitted, dispatch_uid="weir_webhook_outbox")


def hosts_sender(wake: Callable[[], None] | None) -> None:
    """Register (or, with None, remove) the sender of this process: it is told after each commit that wrote something."""
    _Process.wake = staticmethod(wake) if wake else None


def wake_after_commit() -> None:
    """Have the sender of this process look, once the open transaction has committed. The others look by themselves."""
    if _Process.wake is not None:
        transaction.on_commit(_Process.wake, using=APP_ALIAS)


def write(cursor: Any, tenant_id: uuid.UUID, events: Sequence[Event]) -> int:
    """Write events of the tenant for all who listen to them; returns how many deliveries that makes.

    `cursor` is in a transaction in which the tenant's rows may be written. An event that nobody listens to is not kept.
    """
    if not events:
        return 0
    listening = _listening(cursor, tenant_id)
    if any(event.callback_url for event in events) and not any(
        kind == "callback" for _, kind, _ in listening
    ):
        listening = _with_callbacks(cursor, tenant_id)
    now = timezone.now().isoformat().replace("+00:00", "Z")
    told = [(uuid7(), event, _for_whom(event, listening)) for event in events]
    told = [entry for entry in told if entry[2]]
    if not told:
        return 0
    cursor.execute(
        """INSERT INTO integrations_webhookmessage (id, tenant_id, event, key, body)
           SELECT id, %s, event, key, body FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::text[])
                  t(id, event, key, body)
           ON CONFLICT (tenant_id, key) WHERE NOT (key = '') DO NOTHING RETURNING id""",
        [
            tenant_id,
            [message_id for message_id, _, _ in told],
            [event.name for _, event, _ in told],
            [event.key for _, event, _ in told],
            [body_of(event.name, event.data, at=now) for _, event, _ in told],
        ],
    )
    new = {row[0] for row in cursor.fetchall()}
    pairs = [(message_id, *whom) for message_id, _, several in told if message_id in new for whom in several]
    if not pairs:
        return 0
    cursor.execute(
        """INSERT INTO integrations_webhookdelivery (id, tenant_id, message_id, endpoint_id, lane, url, status)
           SELECT id, %s, message_id, endpoint_id, lane, url, 'waiting'
           FROM unnest(%s::uuid[], %s::uuid[], %s::uuid[], %s::uuid[], %s::text[])
                t(id, message_id, endpoint_id, lane, url)""",
        [
            tenant_id,
            [uuid7() for _ in pairs],
            [message_id for message_id, _, _ in pairs],
            [endpoint_id for _, endpoint_id, _ in pairs],
            [lane_of(endpoint_id, url) for _, endpoint_id, url in pairs],
            [url for _, _, url in pairs],
        ],
    )
    wake_after_commit()
    return len(pairs)


def body_of(name: str, data: Mapping[str, Any], *, at: str, **extra: Any) -> str:
    """The body that is signed and sent; `at` is when it happened, in ISO 8601."""
    return orjson.dumps({"type": name, "timestamp": at, **extra, "data": data}).decode()


def lane_of(endpoint_id: uuid.UUID, url: str) -> uuid.UUID:
    """What stands in one line: all of an endpoint; of the callbacks, those to one host."""
    return uuid.uuid5(endpoint_id, urlsplit(url).netloc.lower()) if url else endpoint_id


def _emitted(name: str, data: Mapping[str, Any], key: str, **kwargs: Any) -> None:
    with connections[APP_ALIAS].cursor() as cursor:
        write(cursor, require_tenant_id(), [Event(name, data, key)])


def _listening(cursor: Any, tenant_id: uuid.UUID) -> list[_Row]:
    cursor.execute(
        """SELECT id, kind, events::text FROM integrations_webhookendpoint
           WHERE tenant_id = %s AND status = 'enabled' FOR KEY SHARE""",
        [tenant_id],
    )
    return [(row[0], row[1], orjson.loads(row[2])) for row in cursor.fetchall()]


def _with_callbacks(cursor: Any, tenant_id: uuid.UUID) -> list[_Row]:
    """Make what a tenant's callbacks hang on, with the first that it has; its secret is made when it is first needed."""
    cursor.execute(
        """INSERT INTO integrations_webhookendpoint
                  (id, tenant_id, kind, url, description, events, status, reason, failures, notice, created_by)
           VALUES (%s, %s, 'callback', '', '', '[]', 'enabled', '', 0, '', 'system:engine')
           ON CONFLICT (tenant_id) WHERE kind = 'callback' DO NOTHING""",
        [uuid7(), tenant_id],
    )
    return _listening(cursor, tenant_id)


def _for_whom(event: Event, listening: Sequence[_Row]) -> list[tuple[uuid.UUID, str]]:
    """(endpoint, address where that is not the endpoint's own)"""
    found = [
        (endpoint_id, "")
        for endpoint_id, kind, events in listening
        if kind == "endpoint" and event.name in events
    ]
    if event.callback_url:
        found += [
            (endpoint_id, event.callback_url) for endpoint_id, kind, _ in listening if kind == "callback"
        ]
    return found
