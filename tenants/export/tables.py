"""The rows of a tenant's tables as JSON lines, a chunk at a time, each in a scope of its own."""

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

from django.db import connections

from tenants.classes import owned_tables, table_classes
from tenants.export.registry import left_out_of
from tenants.models import Membership
from tenants.scope import APP_ALIAS, tenant_scope

CHUNK = 1_000
_START = uuid.UUID(int=0)


@dataclass(frozen=True, slots=True)
class Exported:
    """A table in the export: its name, the column that says whose a row is, and what is left out of its rows."""

    table: str
    column: str
    left_out: tuple[str, ...]


def exported() -> list[Exported]:
    """Every table with rows of tenants but those of secrets. Digests and other bytes mean nothing elsewhere and are
    left out by their type."""
    entries = [entry for entry in owned_tables() if entry.kind == "tenant"]
    with connections[APP_ALIAS].cursor() as cursor:
        cursor.execute(
            """SELECT c.relname, a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
               WHERE c.relnamespace = 'public'::regnamespace AND c.relname = ANY(%s) AND a.atttypid = 'bytea'::regtype
                 AND NOT a.attisdropped""",
            [[entry.table for entry in entries]],
        )
        binary = cursor.fetchall()
    return [
        Exported(
            entry.table,
            entry.column,
            tuple(
                sorted(
                    left_out_of(entry.table) | {column for table, column in binary if table == entry.table}
                )
            ),
        )
        for entry in sorted(entries, key=lambda entry: entry.table)
    ]


def secret_tables() -> list[str]:
    """The tables that no export has."""
    return sorted(entry.table for entry in table_classes() if entry.kind == "secret")


def count(tenant_id: uuid.UUID, tables: list[Exported]) -> int:
    """How many rows these tables have of the tenant."""
    total = 0
    with tenant_scope(tenant_id), connections[APP_ALIAS].cursor() as cursor:
        for entry in tables:
            cursor.execute(f'SELECT count(*) FROM "{entry.table}" WHERE {entry.column} = %s', [tenant_id])  # noqa: S608
            total += cursor.fetchone()[0]
    return total


def rows(tenant_id: uuid.UUID, entry: Exported) -> Iterator[list[str]]:
    """The tenant's rows of one table in the order of their ids, as lists of up to CHUNK lines of JSON."""
    after = _START
    statement = f"""
        SELECT id, (to_jsonb(t) - %s::text[])::text FROM "{entry.table}" t
        WHERE {entry.column} = %s AND id > %s ORDER BY id LIMIT {CHUNK}"""  # noqa: S608 - a table of ours
    while True:
        with tenant_scope(tenant_id), connections[APP_ALIAS].cursor() as cursor:
            cursor.execute(statement, [list(entry.left_out), tenant_id, after])
            chunk = cursor.fetchall()
        if chunk:
            yield [line for _, line in chunk]
        if len(chunk) < CHUNK:
            return
        after = chunk[-1][0]


def people(tenant_id: uuid.UUID) -> Iterator[bytes]:
    """Who belongs to the tenant, by name: the memberships' table has ids alone."""
    with tenant_scope(tenant_id):
        members = list(
            Membership.objects.select_related("user")
            .order_by("user__email")
            .values_list("user_id", "user__email", "user__name", "role", "is_owner")
        )
    for member in members:
        line = dict(zip(("id", "email", "name", "role", "is_owner"), member, strict=True))
        yield f"{json.dumps(line, default=str, ensure_ascii=False)}\n".encode()
