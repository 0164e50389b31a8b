"""Work in flight as a file: taken out of the database at a release, put back under the code of a later one.

Times are kept as seconds from the moment of freezing; the tenant, its workflow and its lanes have names in place of ids.
"""

import json
from typing import Any

from django.db import connections

from tenants.models import Tenant
from tenants.scope import tenant_scope
from workflows.models import Lane, Workflow

TABLES = ("run", "record", "step_queue", "lane_run", "lookup", "callback", "step", "billing_usageevent")


def freeze(tenant: Tenant) -> dict[str, list[dict[str, Any]]]:
    """Every row that the tenant's work in flight consists of, by table."""
    frozen: dict[str, list[dict[str, Any]]] = {}
    with tenant_scope(tenant), connections["default"].cursor() as cursor:
        for table in TABLES:
            cursor.execute(f"SELECT to_jsonb(t)::text FROM {table} t ORDER BY id")
            rows = [json.loads(row[0]) for row in cursor.fetchall()]
            cursor.execute(
                f"""SELECT t.id::text, k.key, extract(epoch FROM (k.value #>> '{{}}')::timestamptz - now())::float
                    FROM {table} t, jsonb_each(to_jsonb(t)) k WHERE k.key = ANY(%s) AND k.value <> 'null'""",
                [_times(cursor, table)],
            )
            offsets = {(row[0], row[1]): row[2] for row in cursor.fetchall()}
            for row in rows:
                row.update(
                    {k: {"in": round(offsets[row["id"], k], 3)} for k in row if (row["id"], k) in offsets}
                )
            frozen[table] = rows
        names = _names(tenant)
    text = json.dumps(frozen)
    for id_, name in names.items():
        text = text.replace(id_, name)
    return json.loads(text)


def thaw(tenant: Tenant, frozen: dict[str, list[dict[str, Any]]]) -> None:
    """Put the rows into this tenant, as if the work had been frozen now. Columns that are new have their default."""
    with tenant_scope(tenant), connections["default"].cursor() as cursor:
        text = json.dumps(frozen)
        for id_, name in _names(tenant).items():
            text = text.replace(name, id_)
        for table, rows in json.loads(text).items():
            for row in rows:
                times = {k: v["in"] for k, v in row.items() if isinstance(v, dict) and v.keys() == {"in"}}
                columns = ", ".join(
                    f"now() + {seconds} * interval '1 second'"
                    if (seconds := times.get(k)) is not None
                    else f"r.{k}"
                    for k in row
                )
                plain = {k: v for k, v in row.items() if k not in times}
                cursor.execute(
                    f"""INSERT INTO {table} ({", ".join(row)}) SELECT {columns}
                        FROM jsonb_populate_record(NULL::public.{table}, %s) r ON CONFLICT DO NOTHING""",
                    [json.dumps(plain)],
                )


def _times(cursor: Any, table: str) -> list[str]:
    cursor.execute(
        """SELECT column_name FROM information_schema.columns
           WHERE table_name = %s AND data_type = 'timestamp with time zone'""",
        [table],
    )
    return [row[0] for row in cursor.fetchall()]


def _names(tenant: Tenant) -> dict[str, str]:
    """id -> the name that stands for it."""
    names = {str(tenant.pk): "<tenant>", str(Workflow.objects.get(slug="email-waterfall").pk): "<workflow>"}
    return names | {str(lane.pk): f"<lane {lane.provider}>" for lane in Lane.objects.all()}
