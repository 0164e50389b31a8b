"""Reads of the audit trail. All of them need the tenant's scope."""

from datetime import datetime

from django.db.models import QuerySet

from tenants.ids import first_id_at
from tenants.models import AuditEvent


def events(
    *,
    actor: str = "",
    verb: str = "",
    subject: str = "",
    since: datetime | None = None,
    until: datetime | None = None,
) -> QuerySet[AuditEvent]:
    """The open tenant's trail. Ids tell the time.

    A verb that ends with a dot ("key."), and an actor that ends with a colon ("staff:"), stand for all that begin so.
    """
    rows: QuerySet[AuditEvent] = AuditEvent.objects.all()
    if "\0" in actor + verb + subject:
        return rows.none()
    if actor:
        rows = rows.filter(actor__startswith=actor) if actor.endswith(":") else rows.filter(actor=actor)
    if verb:
        rows = rows.filter(verb__startswith=verb) if verb.endswith(".") else rows.filter(verb=verb)
    if subject:
        rows = rows.filter(subject_id=subject)
    if since:
        rows = rows.filter(pk__gte=first_id_at(since))
    if until:
        rows = rows.filter(pk__lt=first_id_at(until))
    return rows
