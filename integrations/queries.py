"""Reads of connections."""

from collections.abc import Iterable

from django.conf import settings
from django.db.models import QuerySet

from integrations.connectors import registry
from integrations.models import Connection


def connections() -> QuerySet[Connection]:
    """The open tenant's connections, without those that were removed."""
    found: QuerySet[Connection] = Connection.objects.filter(removed_at=None)
    return found


def usable_connections(providers: Iterable[str], *, livemode: bool) -> dict[str, Connection]:
    """The connection to use per provider of the open tenant: test mode reaches sandbox connections alone.

    In live mode a live connection goes before a sandbox one; among equals the oldest.
    """
    rows = connections().filter(provider__in=list(providers)).order_by("mode", "created_at", "id")
    if not livemode:
        rows = rows.filter(mode=Connection.Mode.SANDBOX)
    chosen: dict[str, Connection] = {}
    for row in rows:  # "live" sorts before "sandbox"
        chosen.setdefault(row.provider, row)
    return chosen


def base_url(connection: Connection) -> str:
    """Where this connection's calls go: the sandbox, an override from the environment, or the vendor's own host."""
    if connection.mode == Connection.Mode.SANDBOX:
        return f"{settings.SANDBOX_URL}/{connection.provider}"
    return settings.PROVIDER_BASE_URLS.get(connection.provider) or registry.get(connection.provider).base_url
