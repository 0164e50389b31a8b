"""Proving that what is counted is what the ledger says, and putting counters right that differ."""

import uuid
from dataclasses import dataclass
from datetime import date

from django.db import connections

from billing.quota import PUT_RIGHT, SLOTS
from tenants.ids import uuid7
from tenants.scope import APP_ALIAS, OPS_ALIAS, ops_scope, tenant_scope

_EVERY = """SELECT tenant_id, period, sum(quantity) AS n FROM billing_usageevent
            WHERE kind = 'record' AND livemode GROUP BY 1, 2"""
# Tenant by tenant, as the index has them: the ledger is read for this month alone.
_OF_MONTH = """SELECT t.id AS tenant_id, %(month)s::date AS period, e.n FROM tenants_tenant t CROSS JOIN LATERAL (
                   SELECT sum(quantity) AS n FROM billing_usageevent e
                   WHERE e.tenant_id = t.id AND e.period = %(month)s AND e.kind = 'record' AND e.livemode) e
               WHERE e.n IS NOT NULL"""
_COUNTED = """SELECT tenant_id, period, sum(records) AS n FROM billing_usagecounter
              WHERE %(month)s::date IS NULL OR period = %(month)s GROUP BY 1, 2"""


@dataclass(frozen=True, slots=True)
class Difference:
    """A tenant's month in which the counters and the ledger do not agree."""

    tenant_id: uuid.UUID
    period: date
    counted: int
    ledger: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """How many months of how many tenants were compared, their records in all, and those that differ."""

    months: int
    records: int
    differences: list[Difference]


def compare(month: date | None = None) -> Comparison:
    """Counters against the ledger, of all tenants, in one statement: true of one moment, whatever is accepted meanwhile.

    `month`: the first day of the one to look at; None for all there are. Reads every ledger entry of it.
    """
    with ops_scope("usage is reconciled"), connections[OPS_ALIAS].cursor() as cursor:
        cursor.execute(
            f"""WITH c AS ({_COUNTED}), l AS ({_OF_MONTH if month else _EVERY}),
                     b AS (SELECT tenant_id, period, coalesce(c.n, 0) AS counted, coalesce(l.n, 0) AS ledger
                           FROM c FULL JOIN l USING (tenant_id, period))
                SELECT (SELECT count(*) FROM b), (SELECT coalesce(sum(ledger), 0) FROM b), b.*
                FROM (SELECT 1) one LEFT JOIN b ON b.counted <> b.ledger ORDER BY b.period, b.tenant_id""",  # noqa: S608
            {"month": month},
        )
        rows = cursor.fetchall()
    found = [Difference(row[2], row[3], int(row[4]), int(row[5])) for row in rows if row[2] is not None]
    return Comparison(rows[0][0], int(rows[0][1]), found)


def repair(tenant_id: uuid.UUID, month: date) -> bool:
    """Have the counters say what the ledger says, beside whatever is accepted meanwhile; whether they had to move.

    The difference is that of one statement's moment; whoever counts after it moves counters and ledger alike.
    """
    with tenant_scope(tenant_id), connections[APP_ALIAS].cursor() as cursor:
        cursor.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended('reconcile:' || %s, 0))", [str(tenant_id)]
        )
        cursor.execute(
            f"""INSERT INTO billing_usagecounter AS c (id, tenant_id, period, slot, records)
                SELECT %(id)s, %(tenant)s, %(month)s, {PUT_RIGHT}, d.n
                FROM (SELECT (SELECT coalesce(sum(quantity), 0) FROM billing_usageevent
                              WHERE tenant_id = %(tenant)s AND period = %(month)s AND kind = 'record' AND livemode)
                             - (SELECT coalesce(sum(records), 0) FROM billing_usagecounter
                                WHERE tenant_id = %(tenant)s AND period = %(month)s) AS n) d
                WHERE d.n <> 0
                ON CONFLICT (tenant_id, period, slot) DO UPDATE SET records = c.records + excluded.records""",  # noqa: S608
            {"id": uuid7(), "tenant": tenant_id, "month": month},
        )
        moved = bool(cursor.rowcount)
        # Shares that were dealt from a wrong count are dealt anew; in order, as whoever takes locks them.
        cursor.execute(
            """UPDATE billing_usagecounter c SET share_of = NULL
               FROM (SELECT id FROM billing_usagecounter WHERE tenant_id = %s AND period = %s AND slot BETWEEN 0 AND %s
                     ORDER BY slot FOR UPDATE) s
               WHERE c.id = s.id""",
            [tenant_id, month, SLOTS - 1],
        )
    return moved
