"""The tenant's suppression list: who is never to be looked up or delivered. All of it needs the tenant's scope."""

import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import connections

from integrations.models import Suppression
from integrations.signals import suppressions_removed
from integrations.suppression_keys import HELP, KINDS, MAX_VALUE, Entry, keys_of, read_entry
from tenants import audit
from tenants.errors import InvalidInput, NotFound
from tenants.ids import uuid7
from tenants.models import Tenant
from tenants.scope import APP_ALIAS, require_tenant_id, tenant_scope

MAX_AT_ONCE = 10_000
CHUNK = 1_000


@dataclass(slots=True)
class Added:
    """What came of a list: the new entries, how many were there already, and the lines that name nobody."""

    new: list[Suppression] = field(default_factory=list)
    known: int = 0
    faults: list[tuple[int, str]] = field(default_factory=list)


def add_suppressions(*, lines: Sequence[str], actor: str, kind: str = "", strict: bool = True) -> Added:
    """Put up to 10,000 lines on the open tenant's list; in effect with the next call of each lane.

    `kind` is what all of them are, "" to tell by their text. Raises InvalidInput for faulty lines, each named by its
    place, in which case none is added; where `strict` is off, the sound ones are.
    """
    if kind not in ("", *KINDS):
        raise _invalid("kind", f"Choose one out of: {', '.join(KINDS)}.")
    if not 1 <= len(lines) <= MAX_AT_ONCE:
        raise _invalid("values", f"1 to {MAX_AT_ONCE:,} at once.")
    added = Added()
    entries: dict[str, Entry] = {}
    for number, line in enumerate(lines):
        entry = read_entry(line, kind)
        if entry is None:
            added.faults.append((number, line[:80]))
        else:
            entries.setdefault(entry.key, entry)
    if added.faults and strict:
        raise InvalidInput(
            HELP, errors=[{"field": f"values.{number}", "message": HELP} for number, _ in added.faults[:100]]
        )
    with tenant_scope(require_tenant_id()) as tenant_id:
        rows = list(entries.values())
        with connections[APP_ALIAS].cursor() as cursor:
            cursor.execute(
                """INSERT INTO integrations_suppression (id, tenant_id, kind, value, key, created_by)
                   SELECT id, %s, kind, value, key, %s FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::text[])
                          t(id, kind, value, key)
                   ON CONFLICT (tenant_id, key) DO NOTHING RETURNING id""",
                [
                    tenant_id,
                    actor,
                    [uuid7() for _ in rows],
                    [entry.kind for entry in rows],
                    [entry.value for entry in rows],
                    [entry.key for entry in rows],
                ],
            )
            ids = [row[0] for row in cursor.fetchall()]
        added.new = list(Suppression.objects.filter(pk__in=ids).order_by("id"))
        added.known = len(lines) - len(added.faults) - len(ids)
        if ids:
            # Not whom: what is taken off the list is to be gone, and the trail never forgets.
            audit.record(actor=actor, verb="suppressions.added", subject=Tenant(pk=tenant_id), count=len(ids))
    return added


def remove_suppressions(*, actor: str, ids: Collection[uuid.UUID] = (), values: Sequence[str] = ()) -> int:
    """Take entries off the open tenant's list, by id or as they were written; returns how many. Raises NotFound when
    none of them is on it."""
    keys = [entry.key for line in values if (entry := read_entry(line))]
    with tenant_scope(require_tenant_id()) as tenant_id:
        rows = Suppression.objects.filter(pk__in=list(ids)) | Suppression.objects.filter(key__in=keys)
        count, _ = rows.delete()
        if not count:
            raise NotFound("This is not on the suppression list.")
        suppressions_removed.send(sender=Suppression)
        audit.record(actor=actor, verb="suppressions.removed", subject=Tenant(pk=tenant_id), count=count)
    return count


def suppressed_of(
    cursor: Any, tenant_id: uuid.UUID, items: Sequence[Mapping[str, Any]], *, subdomains: bool
) -> list[bool]:
    """For each of these records, questions or answers whether it is about somebody on the list: one query."""
    keys = [keys_of(item, subdomains=subdomains) for item in items]
    wanted = sorted(set().union(*keys)) if keys else []
    if not wanted:
        return [False] * len(items)
    cursor.execute(
        "SELECT key FROM integrations_suppression WHERE tenant_id = %s AND key = ANY(%s::text[])",
        [tenant_id, wanted],
    )
    hit = {row[0] for row in cursor.fetchall()}
    return [bool(mine & hit) for mine in keys]


def covers_subdomains(cursor: Any, tenant_id: uuid.UUID) -> bool | None:
    """Whether a suppressed domain covers what is below it; None where the tenant has no suppressions at all."""
    cursor.execute(
        """SELECT t.suppress_subdomains FROM tenants_tenant t WHERE t.id = %s
           AND EXISTS (SELECT 1 FROM integrations_suppression s WHERE s.tenant_id = t.id)""",
        [tenant_id],
    )
    found = cursor.fetchone()
    return None if found is None else bool(found[0])


def lines_of(text: str) -> list[str]:
    """The lines of a pasted list or a file of one column; empty ones and a heading are left out."""
    lines = [line.strip().strip('"').strip() for line in text.replace("\ufeff", "").splitlines()]
    headings = {"value", "email", "e-mail", "address", "domain", "person", "suppression"}
    return [
        line for number, line in enumerate(lines) if line and not (number == 0 and line.lower() in headings)
    ]


def export_lines() -> Iterable[str]:
    """The list, one entry a line, a chunk at a time."""
    after = uuid.UUID(int=0)
    while chunk := list(
        Suppression.objects.filter(pk__gt=after).order_by("pk").values_list("pk", "value")[:CHUNK]
    ):
        yield from (value for _, value in chunk)
        after = chunk[-1][0]


def _invalid(name: str, message: str) -> InvalidInput:
    return InvalidInput(f"{name}: {message}", errors=[{"field": name, "message": message}])


__all__ = [
    "MAX_AT_ONCE",
    "MAX_VALUE",
    "Added",
    "add_suppressions",
    "covers_subdomains",
    "export_lines",
    "lines_of",
    "remove_suppressions",
    "suppressed_of",
]
