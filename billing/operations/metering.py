"""From the ledger to Stripe's meter: each record in exactly one batch, each batch counted exactly once.

A batch is the ledger's total of a month less what the tenant's batches before come to, so entries may be committed in
any order and a crash leaves nothing half told; `telling` sends them. Decision 0021.
"""

import uuid
from datetime import UTC, date, datetime, timedelta
from typing import Any

from django.db import connections
from django.db.models import Sum
from django.utils import timezone

from billing import agreed
from billing.models import MeterBatch, Subscription
from billing.periods import bounds, month_before
from tenants.ids import uuid7
from tenants.scope import APP_ALIAS, OPS_ALIAS, ops_scope, tenant_scope

State = MeterBatch.State
RETRACTABLE_FOR = timedelta(hours=23)
MINUTE = timedelta(minutes=1)
METER_LOOKS_AHEAD = timedelta(minutes=4)
"""Stripe takes times up to five minutes ahead."""
WAITING = [State.DUE, State.UNSURE, State.RETRACT]
"""These are tried until there is a definite answer."""
LOST = [State.REFUSED, State.TOO_LATE]
"""These are on no invoice, until somebody does something."""
COUNTED = [*WAITING, *LOST, State.SENT]
"""Of these the ledger's records are told, or are somebody's to look at: no other batch tells them again."""
WHY = "usage for Stripe"


def metered_tenants() -> list[uuid.UUID]:
    """Those whose records are told to Stripe."""
    with ops_scope(WHY):
        found = Subscription.objects.using(OPS_ALIAS).exclude(metered_from=None)
        return list(found.order_by("tenant_id").values_list("tenant_id", flat=True))


def untold() -> list[uuid.UUID]:
    """Those of whom the counters have another number than batches tell, this month or the last. Counters are quick and may
    be wrong; the ledger decides in `collect`."""
    this = timezone.now().astimezone(UTC).date().replace(day=1)
    with ops_scope(WHY), connections[OPS_ALIAS].cursor() as cursor:
        cursor.execute(
            """SELECT s.tenant_id FROM billing_subscription s CROSS JOIN unnest(%s::date[]) month(period)
               WHERE month.period >= s.metered_from
                 AND greatest(0, coalesce((SELECT sum(records) FROM billing_usagecounter c
                               WHERE c.tenant_id = s.tenant_id AND c.period = month.period), 0)
                               - coalesce((s.agreed ->> to_char(month.period, 'YYYY-MM'))::bigint, 0))
                  <> coalesce((SELECT sum(quantity) FROM billing_meterbatch b
                               WHERE b.tenant_id = s.tenant_id AND b.period = month.period AND b.state = ANY(%s)), 0)
               GROUP BY s.tenant_id ORDER BY s.tenant_id""",
            [[month_before(this), this], [str(state) for state in COUNTED]],
        )
        return [row[0] for row in cursor.fetchall()]


def collect(tenant_id: uuid.UUID, *, at_the_end: bool = False) -> int:
    """Put what the ledger has and no batch tells yet into batches, of this month and the last; returns how many records.

    Where more was told than the ledger has now, what can be taken back is. `at_the_end`: the subscription ends now, and
    what is told of a later minute would not be billed.
    """
    told = 0
    with tenant_scope(tenant_id), connections[APP_ALIAS].cursor() as cursor:
        row = Subscription.objects.select_for_update().exclude(metered_from=None).first()
        if row is None:
            return 0
        now = timezone.now()
        this = now.astimezone(UTC).date().replace(day=1)
        for period in (month_before(this), this):
            if period < row.metered_from:
                continue
            if period == this:
                agreed.note(row, this)
            missing = _missing(cursor, row, period)
            if missing > 0 and _add(row, period, missing, now, at_the_end=at_the_end):
                told += missing
            elif missing < 0:
                _take_back(period, -missing, now, since=_first_minute(row, period))
    return told


def untold_of(tenant_id: uuid.UUID) -> int:
    """How many records of this month and the last no batch of this tenant tells, and some could: where a subscription began
    in the last minute of a month, nothing of that month can be told."""
    this = timezone.now().astimezone(UTC).date().replace(day=1)
    with tenant_scope(tenant_id), connections[APP_ALIAS].cursor() as cursor:
        row = Subscription.objects.exclude(metered_from=None).first()
        if row is None:
            return 0
        months = [
            period
            for period in (month_before(this), this)
            if period >= row.metered_from and _first_minute(row, period) < bounds(period)[1]
        ]
        return sum(max(0, _missing(cursor, row, period)) for period in months)


def _missing(cursor: Any, row: Subscription, period: date) -> int:
    """What is to be told of a month, less what batches tell. Both in one snapshot, under the subscription's lock."""
    cursor.execute(
        """SELECT coalesce((SELECT sum(quantity) FROM billing_usageevent WHERE tenant_id = %s AND period = %s
                            AND kind = 'record' AND livemode), 0),
                  coalesce((SELECT sum(quantity) FROM billing_meterbatch WHERE tenant_id = %s AND period = %s
                              AND state = ANY(%s)), 0)""",
        [row.tenant_id, period, row.tenant_id, period, [str(state) for state in COUNTED]],
    )
    ledger, told = cursor.fetchone()
    return agreed.billable(row, period, int(ledger)) - int(told)


def _add(row: Subscription, period: date, quantity: int, now: datetime, *, at_the_end: bool) -> bool:
    """To a batch that was never tried, or as a new one in a minute of its own; False while no minute is free."""
    waiting = MeterBatch.objects.select_for_update(skip_locked=True).filter(
        period=period, state=State.DUE, first_tried_at=None
    )
    batch = waiting.order_by("-at").first()
    if batch is not None:
        batch.quantity += quantity
        batch.save(update_fields=["quantity"])
        return True
    at = _free_minute(row, period, now, at_the_end=at_the_end)
    if at is None:
        return False
    number = uuid7()
    MeterBatch.objects.create(
        id=number,
        tenant_id=row.tenant_id,
        identifier=f"weir-{number}",
        period=period,
        at=at,
        quantity=quantity,
    )
    return True


def _free_minute(row: Subscription, period: date, now: datetime, *, at_the_end: bool) -> datetime | None:
    """A minute that no other batch has, and that the subscription bills: one of the coming ones, as what is told of a
    moment before it began is billed by nobody. Where the month or the subscription is over, one that has gone by."""
    first, last = _first_minute(row, period), bounds(period)[1]
    # Stripe counts in seconds, and what is told of the second in which the subscription ends comes after it.
    present = _minute(now - timedelta(seconds=1) if at_the_end else now)
    newest = min(present if at_the_end else present + METER_LOOKS_AHEAD, last - MINUTE)
    taken = set(MeterBatch.objects.filter(at__gte=first, at__lte=newest).values_list("at", flat=True))
    at, step = (newest, -MINUTE) if at_the_end or newest <= present else (present + MINUTE, MINUTE)
    while first <= at <= newest:
        if at not in taken:
            return at
        at += step
    return None


def _first_minute(row: Subscription, period: date) -> datetime:
    """The first of a month that the subscription bills, at the price of now: what is told of earlier ones is on no invoice
    that is still to come."""
    first, last = bounds(period)
    for cut in (row.began_at, row.changed_at):
        if cut is not None and cut < last:
            first = max(first, _minute(cut) + MINUTE)
    return first


def _minute(moment: datetime) -> datetime:
    return moment.replace(second=0, microsecond=0)


def _take_back(period: date, surplus: int, now: datetime, *, since: datetime) -> None:
    """Batches that were never tried count for nothing any more; of those sent, the newest that Stripe can still cancel
    are cancelled, less what is being cancelled already. What they told beside the surplus is told anew by the next
    `collect`. What was told of times before `since` is on an invoice: told anew it would be on two."""
    under_way = MeterBatch.objects.filter(period=period, state=State.RETRACT).aggregate(n=Sum("quantity"))[
        "n"
    ]
    surplus -= under_way or 0
    if surplus <= 0:
        return
    untried = MeterBatch.objects.select_for_update(skip_locked=True).filter(
        period=period, state=State.DUE, first_tried_at=None
    )
    for batch in untried:
        surplus -= batch.quantity
        batch.state = State.RETRACTED
        batch.save(update_fields=["state"])
    sent = MeterBatch.objects.select_for_update(skip_locked=True).filter(
        period=period, state=State.SENT, sent_at__gt=now - RETRACTABLE_FOR, at__gte=since
    )
    for batch in sent.order_by("-sent_at"):
        if surplus <= 0:
            return
        surplus -= batch.quantity
        batch.state, batch.due_at, batch.tries, batch.first_tried_at = State.RETRACT, now, 0, None
        batch.save(update_fields=["state", "due_at", "tries", "first_tried_at"])
