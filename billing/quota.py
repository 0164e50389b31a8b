"""The month's records: counted and, where the plan stops hard, never overdrawn, in the transaction that accepts them.

A tenant's month has sixteen rows, and a connection counts in the row that its own process of PostgreSQL names: none waits
for another, and nothing is written by a second transaction, so that a rollback takes nothing and a crash loses nothing.
Where the plan stops hard, each row has a share of the quota. Who finds its share used up locks all rows in order, deals
what is left out anew, and refuses when there is none (the function weir_take_quota, migration 0006).

Who takes must take before it locks what others may hold who take as well; who gives back writes a row of its own.
"""

import uuid
from typing import Any

from billing.errors import QuotaExceeded
from billing.limits import Limits, limits_of

PERIOD = "date_trunc('month', now() AT TIME ZONE 'utc')::date"
"""In SQL, the month that usage counts in: of the transaction's beginning, so that all it writes is of one month."""
SLOTS = 16
PUT_RIGHT = 16
COUNT = f"""
    INSERT INTO billing_usagecounter AS c (id, tenant_id, period, slot, records)
    SELECT gen_random_uuid(), %(tenant)s, {PERIOD}, pg_backend_pid() & {SLOTS - 1}, n
    FROM (SELECT %(counted)s::bigint AS n) n WHERE n > 0
    ON CONFLICT (tenant_id, period, slot)
    DO UPDATE SET records = c.records + excluded.records, share = 0, share_of = NULL"""  # noqa: S608 - constants
"""The counting where the plan does not stop, as a part of whatever statement accepts: what `take_ahead` left for it."""
ROUND = """CASE WHEN EXISTS (SELECT 1 FROM billing_usageevent b WHERE b.tenant_id = %(tenant)s
                                AND b.key = 'back:' || t.record_id)
                THEN ':' || 1 + (SELECT count(*) FROM generate_series(1, 99) n JOIN billing_usageevent b
                                 ON b.tenant_id = %(tenant)s AND b.key = 'back:' || t.record_id || ':' || n)
                ELSE '' END"""
"""In SQL, what ends the keys of a record's entries in its present round: a record that was given back and is asked for
after all is counted again, under a key of its own. `t.record_id` is the record, `%(tenant)s` its tenant."""
_GIVE_BACK = f"""
    WITH back AS (
        INSERT INTO billing_usageevent (id, tenant_id, key, kind, quantity, credits, provider, run_id, period, livemode)
        SELECT t.id, e.tenant_id, 'back:' || t.record_id || t.round, 'record', -1, 0, '', e.run_id, e.period, e.livemode
        FROM (SELECT t.id, t.record_id, {ROUND} AS round
              FROM unnest(%(ids)s::uuid[], %(records)s::uuid[]) t(id, record_id)) t
        JOIN billing_usageevent e ON e.tenant_id = %(tenant)s AND e.key = 'record:' || t.record_id || t.round
        WHERE {{only}}
        ON CONFLICT DO NOTHING RETURNING period, quantity)
    INSERT INTO billing_usagecounter AS c (id, tenant_id, period, slot, records)
    SELECT gen_random_uuid(), %(tenant)s, period, -pg_backend_pid(), sum(quantity) FROM back GROUP BY period
    ON CONFLICT (tenant_id, period, slot) DO UPDATE SET records = c.records + excluded.records"""  # noqa: S608 - constants


def take(cursor: Any, tenant_id: uuid.UUID, records: int) -> None:
    """Count live records that the open transaction of the tenant's scope accepts. Raises QuotaExceeded: nothing may be
    accepted then, and the transaction is to end.

    The caller writes a ledger row for each, in `PERIOD`. Records of test mode are not to be counted.
    """
    limits = limits_of(tenant_id)
    if _take(cursor, tenant_id, records, limits, partly=False) < records:
        raise exceeded(cursor, tenant_id, records, limits)


def take_ahead(cursor: Any, tenant_id: uuid.UUID, records: int) -> int:
    """As `take`, but leaves the counting to the caller's own statement where nothing can be refused: returns how many
    `COUNT` has to count (`%(tenant)s`, `%(counted)s`), so that a plan that does not stop costs no round trip."""
    limits = limits_of(tenant_id)
    if limits.overage_allowed:
        return records
    if _take(cursor, tenant_id, records, limits, partly=False) < records:
        raise exceeded(cursor, tenant_id, records, limits)
    return 0


def take_some(cursor: Any, tenant_id: uuid.UUID, records: int) -> int:
    """As `take`, for what is accepted piece by piece: counts as many as there is room for, and returns how many."""
    return _take(cursor, tenant_id, records, limits_of(tenant_id), partly=True)


def _take(cursor: Any, tenant_id: uuid.UUID, records: int, limits: Limits, *, partly: bool) -> int:
    if records == 0:
        return 0
    if limits.overage_allowed:
        cursor.execute(COUNT, {"tenant": tenant_id, "counted": records})
        return records
    cursor.execute(
        "SELECT weir_take_quota(%s::uuid, %s::int, %s::bigint, %s::bool)",
        [tenant_id, records, limits.monthly_records, partly],
    )
    return int(cursor.fetchone()[0])


def give_back(
    cursor: Any,
    tenant_id: uuid.UUID,
    ids: list[uuid.UUID],
    record_ids: list[uuid.UUID],
    *,
    only: str = "true",
) -> None:
    """Correct the ledger for records that no call was made for: an entry each, in the period of the one that counted it,
    with the count. `ids` are those of the new entries; `only` is a condition over `e` (that entry) and `t.record_id`.

    Records that were not counted, or were given back before, are left out.
    """
    if record_ids:
        cursor.execute(_GIVE_BACK.format(only=only), {"tenant": tenant_id, "ids": ids, "records": record_ids})


def used(cursor: Any, tenant_id: uuid.UUID) -> int:
    """The live records counted in this month."""
    cursor.execute(
        f"SELECT coalesce(sum(records), 0) FROM billing_usagecounter WHERE tenant_id = %s AND period = {PERIOD}",  # noqa: S608
        [tenant_id],
    )
    return int(cursor.fetchone()[0])


def require_room(cursor: Any, tenant_id: uuid.UUID, records: int) -> None:
    """Refuse what cannot fit as things stand, before it is taken piece by piece. Raises QuotaExceeded."""
    limits = limits_of(tenant_id)
    if not limits.overage_allowed and used(cursor, tenant_id) + records > limits.monthly_records:
        raise exceeded(cursor, tenant_id, records, limits)


def exceeded(cursor: Any, tenant_id: uuid.UUID, records: int, limits: Limits) -> QuotaExceeded:
    """The error for so many records that do not fit."""
    left = max(0, limits.monthly_records - used(cursor, tenant_id))
    wanted = "this record does" if records == 1 else f"these {records:,} do"
    remain = f"{left:,} of them are left, {wanted} not fit" if left else "none of them is left"
    return QuotaExceeded(
        f"Plan {limits.plan_name} includes {limits.monthly_records:,} records a month; {remain}. Nothing was accepted. "
        "The count begins anew on the first of the month (UTC); a larger plan has room at once."
    )
