"""Tenants, people, keys and the trail, in the ops console."""

from tenants.admin import closed, keys, people, tenants
from tenants.ops_console.registry import Related, relate

relate(
    "tenants.tenant",
    Related("Members", "tenants.membership", "tenant__id__exact"),
    Related("Invitations", "tenants.invitation", "tenant__id__exact"),
    Related("Keys", "tenants.apikey", "tenant__id__exact"),
    Related("Trail", "tenants.auditevent", "tenant__id__exact"),
)

__all__ = ["closed", "keys", "people", "tenants"]
