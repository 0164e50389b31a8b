"""From the ledger to Stripe's meter: each record in exactly one batch, each batch counted exactly once.

A batch is the ledger's total of a month less what the tenant's batches before come to, so entries may be committed in
any order and a crash leaves nothing half told. A batch is marked as tried before it is sent, and sent again under the
same identifier while Stripe is sure to know it; after that nothing is sent before the meter was read. Decision 0021.
"""

import uuid
from datetime import UTC, date, datetime, timedelta
from typing import Any

import structlog
from django.db import connections
from django.db.models import Sum
from django.utils import timezone

from billing import agreed, stripe_gateway
from billing.errors import StripeAway, StripeRefused
from billing.models import MeterBatch, Subscription
from billing.periods import bounds, month_before
from tenants import audit
from tenants.errors import Conflict
from tenants.ids import uuid7
from tenants.scope import APP_ALIAS, OPS_ALIAS, ops_scope, tenant_scope

State = MeterBatch.State
SURE_FOR = timedelta(hours=20)
"""For how long after the first try the same identifier is sent again: Stripe promises to know it for 24 hours."""
RETRACTABLE_FOR = timedelta(hours=23)
METER_TAKES = timedelta(days=34, hours=23)
"""How old what the meter is told may be: Stripe takes 35 days."""
DRAFT = timedelta(hours=1)
"""For how long after its end Stripe keeps a month's invoice open for late usage."""
FIRST_WAIT, LONGEST_WAIT = timedelta(seconds=5), timedelta(minutes=15)
AT_ONCE = 500
MINUTE = timedelta(minutes=1)
METER_LOOKS_AHEAD = timedelta(minutes=4)
"""Stripe takes times up to five minutes ahead."""
SETTLED = timedelta(hours=1)
"""After so long Stripe's meter shows what became of an event."""
WAITING = [State.DUE, State.UNSURE, State.RETRACT]
"""These are tried until there is a definite answer."""
LOST = [State.REFUSED, State.TOO_LATE]
"""These are on no invoice, until somebody does something."""
COUNTED = [*WAITING, *LOST, State.SENT]
"""Of these the ledger's records are told, or are somebody's to look at: no other batch tells them again."""
WHY = "usage for Stripe"
_log = structlog.stdlib.get_logger("weir.metering")


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
                _take_back(period, -missing, now)
    return told


def untold_of(tenant_id: uuid.UUID) -> int:
    """How many records of this month and the last no batch of this tenant tells."""
    this = timezone.now().astimezone(UTC).date().replace(day=1)
    with tenant_scope(tenant_id), connections[APP_ALIAS].cursor() as cursor:
        row = Subscription.objects.exclude(metered_from=None).first()
        if row is None:
            return 0
        months = [period for period in (month_before(this), this) if period >= row.metered_from]
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
    first, last = bounds(period)
    if row.began_at is not None and row.began_at < last:
        first = max(first, _minute(row.began_at) + MINUTE)
    present = _minute(now)
    newest = min(present if at_the_end else present + METER_LOOKS_AHEAD, last - MINUTE)
    taken = set(MeterBatch.objects.filter(at__gte=first, at__lte=newest).values_list("at", flat=True))
    at, step = (newest, -MINUTE) if at_the_end or newest <= present else (present + MINUTE, MINUTE)
    while first <= at <= newest:
        if at not in taken:
            return at
        at += step
    return None


def _minute(moment: datetime) -> datetime:
    return moment.replace(second=0, microsecond=0)


def _take_back(period: date, surplus: int, now: datetime) -> None:
    """Batches that were never tried count for nothing any more; of those sent, the newest that Stripe can still cancel
    are cancelled, less what is being cancelled already. What they told beside the surplus is told anew by the next
    `collect`."""
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
        period=period, state=State.SENT, sent_at__gt=now - RETRACTABLE_FOR
    )
    for batch in sent.order_by("-sent_at"):
        if surplus <= 0:
            return
        surplus -= batch.quantity
        batch.state, batch.due_at, batch.tries, batch.first_tried_at = State.RETRACT, now, 0, None
        batch.save(update_fields=["state", "due_at", "tries", "first_tried_at"])


def send_due(most: int = AT_ONCE) -> int:
    """Try the batches whose time has come; returns how many. Any number of processes may do so at once."""
    with ops_scope(WHY):
        found = list(
            MeterBatch.objects.using(OPS_ALIAS)
            .filter(state__in=WAITING, due_at__lte=timezone.now())
            .order_by("due_at")
            .values_list("tenant_id", "pk")[:most]
        )
    for tenant_id, batch_id in found:
        try:
            send(tenant_id, batch_id)
        except Exception as error:  # noqa: BLE001 - whatever it is, the others go on, and somebody sees it
            _log.error("usage_broke", tenant_id=str(tenant_id), batch_id=str(batch_id), exc_info=error)
    return len(found)


def send_all(tenant_id: uuid.UUID) -> None:
    """Try a tenant's batches now, due or not."""
    with tenant_scope(tenant_id):
        MeterBatch.objects.filter(state__in=WAITING).update(due_at=timezone.now())
        found = list(MeterBatch.objects.filter(state__in=WAITING).values_list("pk", flat=True))
    for batch_id in found:
        send(tenant_id, batch_id)


def send(tenant_id: uuid.UUID, batch_id: uuid.UUID) -> None:
    """Try one batch: send it, or take it back, or look whether it arrived. Call it outside any scope."""
    found = _claim(tenant_id, batch_id)
    if found is None:
        return
    batch, customer_id = found
    now = timezone.now()
    try:
        if batch.state == State.RETRACT:
            changes = _cancel(batch, customer_id)
        elif batch.first_tried_at is not None and now - batch.first_tried_at > SURE_FOR:
            changes = _look(batch, customer_id)
        elif now - batch.at > METER_TAKES and batch.tries <= 1:
            changes = {"state": State.TOO_LATE, "answer": "older than Stripe's meter takes"}
        else:
            changes = _tell(batch, customer_id)
    except (
        StripeAway,
        StripeRefused,
    ) as error:  # refused: to say what arrived; the batch waits, and is told of
        changes = {"answer": error.detail[:300]}
    if changes.get("state") in (State.REFUSED, State.TOO_LATE):
        _log.error(
            "usage_not_told", tenant_id=str(tenant_id), batch=batch.identifier, quantity=batch.quantity,
            state=str(changes["state"]),
        )  # fmt: skip
    with tenant_scope(tenant_id):
        MeterBatch.objects.filter(pk=batch.pk, tries=batch.tries).update(**changes)


def send_again(*, row: MeterBatch, actor: str) -> None:
    """Have a batch that was refused tried again, once what it was refused for is put right. The meter is read first: what
    did arrive is not sent. Expects the tenant's scope."""
    now = timezone.now()
    batch = MeterBatch.objects.select_for_update().filter(pk=row.pk, state=State.REFUSED).first()
    if batch is None:
        raise Conflict("This batch is not refused any more.")
    batch.state, batch.tries, batch.due_at = State.UNSURE, 0, now
    batch.first_tried_at = now - SURE_FOR - MINUTE
    batch.save(update_fields=["state", "tries", "due_at", "first_tried_at"])
    audit.record(actor=actor, verb="billing.usage_sent_again", subject=batch, records=batch.quantity)


def _claim(tenant_id: uuid.UUID, batch_id: uuid.UUID) -> tuple[MeterBatch, str] | None:
    """Mark a batch as tried, so that whatever happens now, it is known that it may have arrived."""
    now = timezone.now()
    with tenant_scope(tenant_id):
        customer_id = Subscription.objects.values_list("customer_id", flat=True).first()
        batch = (
            MeterBatch.objects.select_for_update(skip_locked=True)
            .filter(pk=batch_id, state__in=WAITING, due_at__lte=now)
            .first()
        )
        if batch is None or customer_id is None:
            return None
        batch.tries += 1
        batch.due_at = now + min(FIRST_WAIT * 2 ** min(batch.tries - 1, 10), LONGEST_WAIT)
        batch.first_tried_at = batch.first_tried_at or now
        if batch.state != State.RETRACT:
            batch.state = State.UNSURE
        batch.save(update_fields=["tries", "due_at", "state", "first_tried_at"])
    return batch, customer_id


def _tell(batch: MeterBatch, customer_id: str) -> dict[str, Any]:
    try:
        stripe_gateway.send_usage(
            customer_id, quantity=batch.quantity, at=batch.at, identifier=batch.identifier,
            key=f"{batch.identifier}:{batch.tries}",
        )  # fmt: skip
    except stripe_gateway.Duplicate:
        return _arrived(batch, "arrived before")
    except StripeRefused as error:
        if batch.tries > 1:  # what was tried before may have arrived
            return _look(batch, customer_id)
        return {"state": State.REFUSED, "answer": error.detail[:300]}
    return _arrived(batch, "")


def _look(batch: MeterBatch, customer_id: str) -> dict[str, Any]:
    """What the meter has in the batch's own minute: all of it, or nothing, and then it may be sent again."""
    counted = stripe_gateway.usage_between(customer_id, batch.at, batch.at + MINUTE)
    if counted == batch.quantity:
        return _arrived(batch, "found in the meter")
    if counted == 0:
        return {
            "state": State.DUE,
            "first_tried_at": None,
            "tries": 0,
            "due_at": timezone.now(),
            "answer": "never arrived",
        }
    return {"state": State.REFUSED, "answer": f"the meter has {counted} in its minute"}


def _cancel(batch: MeterBatch, customer_id: str) -> dict[str, Any]:
    """Take it back. A refusal may be of what an earlier try did, or of an event that Stripe has not worked off yet: the
    meter says which, once it has had time."""
    try:
        stripe_gateway.take_back_usage(batch.identifier)
    except StripeRefused as error:
        if timezone.now() - (batch.first_tried_at or batch.created_at) < SETTLED:
            return {"answer": f"not taken back yet: {error.detail}"[:300]}
        if stripe_gateway.usage_between(customer_id, batch.at, batch.at + MINUTE) != 0:
            return {"state": State.SENT, "answer": f"not taken back: {error.detail}"[:300]}
    return {"state": State.RETRACTED, "answer": "taken back"}


def _arrived(batch: MeterBatch, answer: str) -> dict[str, Any]:
    now = timezone.now()
    if now > bounds(batch.period)[1] + DRAFT:
        # In the meter, and not on its invoice: `late_usage` charges it with the next one.
        answer = f"after its month's invoice was final; {answer}".rstrip("; ")
        _log.warning(
            "usage_after_invoice", batch=batch.identifier, quantity=batch.quantity, period=str(batch.period)
        )
    return {"state": State.SENT, "sent_at": now, "answer": answer}


def waiting_s() -> float:
    """For how many seconds the oldest batch has waited for a definite answer; 0 when none does."""
    with ops_scope(WHY):
        oldest = (
            MeterBatch.objects.using(OPS_ALIAS)
            .filter(state__in=WAITING)
            .order_by("created_at")
            .values_list("created_at", flat=True)
            .first()
        )
    return (timezone.now() - oldest).total_seconds() if oldest else 0.0
