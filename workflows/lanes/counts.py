"""What the calls of a flush count for: the ledger's entries, and each run's figures of its vendors."""

import uuid
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from datetime import date
from typing import Any

from tenants.ids import uuid7
from workflows.lanes.month import Month
from workflows.lanes.work import Settlement


def write_usage(cursor: Any, tenant_id: uuid.UUID, month: Month, settlements: Sequence[Settlement]) -> None:
    """Append what these attempts cost to the ledger; a key that is there already is left as it is."""
    entries: list[tuple[str, int, int, date, Settlement]] = []
    for s in settlements:
        own = s.work.month or month.today
        if s.called:
            entries.append((f"attempt:{s.attempt_id}", s.calls, s.credits, own, s))
        if s.booked:
            entries.append((f"doubt:{s.attempt_id}", 0, s.booked, own, s))
        for booked_in, amount in s.released_by_month:
            of_month = f":{booked_in}" if booked_in else ""
            entries.append((f"doubt-back:{s.attempt_id}{of_month}", 0, -amount, booked_in or own, s))
    if not entries:
        return
    cursor.execute(
        """INSERT INTO billing_usageevent (id, tenant_id, key, kind, quantity, credits, provider, run_id, period,
                                           livemode)
           SELECT id, %s, key, 'attempt', calls, credits, provider, run_id, month, livemode
           FROM unnest(%s::uuid[], %s::text[], %s::int[], %s::bigint[], %s::text[], %s::uuid[], %s::bool[],
                       %s::date[]) t(id, key, calls, credits, provider, run_id, livemode, month)
           ON CONFLICT DO NOTHING""",
        [
            tenant_id,
            [uuid7() for _ in entries],
            [key for key, *_ in entries],
            [calls for _, calls, *_ in entries],
            [cost for _, _, cost, *_ in entries],
            [s.work.provider for *_, s in entries],
            [s.work.run.id for *_, s in entries],
            [s.work.run.livemode for *_, s in entries],
            [of_month.isoformat() for *_, of_month, _ in entries],
        ],
    )


def count_vendors(
    cursor: Any, tenant_id: uuid.UUID, settlements: Sequence[Settlement], kept: Collection[uuid.UUID]
) -> None:
    """Add these attempts to their runs' figures of each vendor; only those `kept` end records."""
    sums: dict[tuple[uuid.UUID, str, str], Counter[str]] = defaultdict(Counter)
    for s in settlements:
        key = (s.work.run.id, s.work.provider, s.work.operation)
        sums[key]["calls"] += s.calls
        sums[key]["credits"] += s.credits + s.booked - s.released
        if s.outcome == "cached":
            sums[key]["cached"] += 1
        if s.answer is not None and s.outcome in ("hit", "cached"):
            sums[key]["hits"] += 1
        elif s.outcome in ("miss", "invalid", "cached"):
            sums[key]["misses"] += 1
        elif s.outcome != "skipped":
            sums[key]["errors"] += 1
        ends = s.final if s.attempt_id in kept else None
        if ends and ends.status == "found" and (finder := (ends.output or {}).get("found_by")):
            sums[(s.work.run.id, finder, "find")]["accepted"] += 1
    ordered = sorted(sums)
    columns = ("calls", "hits", "misses", "cached", "errors", "accepted", "credits")
    cursor.execute(
        """INSERT INTO run_vendor AS v (id, tenant_id, run_id, provider, operation, calls, hits, misses, cached,
                                        errors, accepted, credits)
           SELECT id, %s, run_id, provider, operation, calls, hits, misses, cached, errors, accepted, credits
           FROM unnest(%s::uuid[], %s::uuid[], %s::text[], %s::text[], %s::int[], %s::int[], %s::int[], %s::int[],
                       %s::int[], %s::int[], %s::bigint[])
                t(id, run_id, provider, operation, calls, hits, misses, cached, errors, accepted, credits)
           ON CONFLICT (tenant_id, run_id, provider, operation) DO UPDATE SET
               calls = v.calls + excluded.calls, hits = v.hits + excluded.hits,
               misses = v.misses + excluded.misses, cached = v.cached + excluded.cached,
               errors = v.errors + excluded.errors, accepted = v.accepted + excluded.accepted,
               credits = v.credits + excluded.credits""",
        [
            tenant_id,
            [uuid7() for _ in ordered],
            [key[0] for key in ordered],
            [key[1] for key in ordered],
            [key[2] for key in ordered],
            *([sums[key][column] for key in ordered] for column in columns),
        ],
    )
