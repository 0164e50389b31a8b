"""The only module that knows Stripe's SDK: calls in our words, answers read by `stripe_answers`, errors translated.

Facts: docs.stripe.com and the SDK stripe==16.1.0 (API version 2026-10-28.endive). Retries of reads and of keyed writes
are the SDK's own, with the same key. No function may be called with a transaction open.
"""

import logging
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import orjson
import stripe
import structlog
from django.conf import settings
from django.db import connections

from billing import stripe_answers as answers
from billing.errors import BillingOff, CardRefused, StripeAway, StripeRefused
from billing.stripe_silence import Silence

API_VERSION = "2026-10-28.endive"
"""What the SDK pins: events have to be rendered in it."""
METER_EVENT = "weir_records"
"""The event name of the one meter: records accepted."""
TOLERANCE_S = 300
TIMEOUT_S = 8
RETRIES = 2
TENANT = "tenant_id"
"""The key of our metadata on customers and subscriptions."""
_log = structlog.stdlib.get_logger("weir.stripe")
_PAGE = 100
_METER_MISSING = ("no_meter", "archived_meter")
SILENCE, USAGE_SILENCE = Silence(), Silence()
"""Whether calls of this process come to no answer, and those that tell of usage: StripeAway is raised without any then."""
_LOOPBACK = ("localhost", "127.0.0.1", "::1")

stripe.enable_telemetry = False
logging.getLogger("stripe").setLevel(
    logging.WARNING
)  # a line for each request, with whose it was in the address


class Duplicate(StripeRefused):
    """The meter knows an event with this identifier: it arrived before."""

    code = "stripe_duplicate"


def enabled() -> bool:
    """Whether keys are set; without them operators set plans, and nothing here may be called."""
    return bool(settings.STRIPE_SECRET_KEY and settings.STRIPE_WEBHOOK_SECRET)


def is_sandbox() -> bool:
    """Whether payments go to the double that comes with Weir: no real card is charged."""
    return enabled() and (urlsplit(settings.STRIPE_API_BASE).hostname or "") in _LOOPBACK


# --- Webhooks
def verified(body: bytes, header: str, *, now: float) -> answers.Told:
    """A posted event whose signature over these very bytes is right, and whose time is within TOLERANCE_S of now.

    Raises ValueError, TypeError, OverflowError or OSError for all else; the SDK itself would take times in the future.
    """
    secrets = settings.STRIPE_WEBHOOK_SECRET.split(",")
    if not secrets[0] or not header:
        raise ValueError("no signature")
    if not any(_is_signed(body.decode(), header, secret.strip()) for secret in secrets):
        raise ValueError("no signature of these bytes")
    times = [part[2:] for part in header.split(",") if part.startswith("t=")]
    if len(times) != 1 or not times[0].isdigit() or int(times[0]) > now + TOLERANCE_S:
        raise ValueError("the signature's time is in the future")
    event = orjson.loads(body)
    if not isinstance(event, dict):
        raise TypeError("no event")
    return answers.told_of(event, body.decode())


def _is_signed(body: str, header: str, secret: str) -> bool:
    try:
        stripe.WebhookSignature.verify_header(body, header, secret, TOLERANCE_S)
    except stripe.SignatureVerificationError:
        return False
    return True


def undelivered(since: datetime) -> list[answers.Told]:
    """Events since a moment that no endpoint has taken yet, oldest first: all of them, however many pages they fill."""
    asked: Any = {"delivery_success": False, "created": {"gte": int(since.timestamp())}, "limit": _PAGE}
    with _asking() as client:
        found = client.v1.events.list(asked)
        rows = list(found.data)
        while found.has_more and found.data:
            found = client.v1.events.list(asked | {"starting_after": found.data[-1].id})
            rows += found.data
    return [told for told in map(_told, reversed(rows)) if told is not None]


def _told(event: stripe.Event) -> answers.Told | None:
    """None for one that we could not hold: it hides no other."""
    try:
        return answers.told_of(event.to_dict(), str(event))
    except (ValueError, TypeError, OverflowError, OSError):
        _log.error("stripe_event_not_understood", event_id=str(event.id))
        return None


# --- Customers, checkout, portal
def create_customer(tenant_id: uuid.UUID, *, name: str, email: str) -> str:
    """The id of a tenant's customer: one that an earlier try made, or a new one. Each try has a key of its own, as v1
    would repeat a saved 500 for a day; a customer that nobody finds again pays nothing and does no harm."""
    with _asking() as client:
        for found in client.v1.customers.list({"email": email, "limit": _PAGE}).data:
            if (found.to_dict().get("metadata") or {}).get(TENANT) == str(tenant_id):
                return str(found.id)
        made = client.v1.customers.create(
            {"name": name, "email": email, "metadata": {TENANT: str(tenant_id)}},
            {"idempotency_key": f"weir-customer-{uuid.uuid4()}"},
        )
        return str(made.id)


def tenant_of(customer_id: str) -> str:
    """The tenant that a customer's metadata names; empty for one that is not ours."""
    with _asking() as client:
        customer = client.v1.customers.retrieve(customer_id)
        return str((customer.to_dict().get("metadata") or {}).get(TENANT, ""))


def customer_of_charge(charge_id: str) -> str:
    """The customer who was charged; empty for nobody's."""
    with _asking() as client:
        return str(client.v1.charges.retrieve(charge_id).to_dict().get("customer") or "")


def open_checkout(
    tenant_id: uuid.UUID, *, customer_id: str, prices: list[tuple[str, bool]], anchor: datetime, until: datetime,
    back: str, cancelled: str,
) -> answers.CheckoutSession:  # fmt: skip
    """A page of Stripe's on which a subscription is paid, `until` some moment. `prices` are (id, whether it is metered);
    the first whole period begins at `anchor`, and what is before it is charged by its share."""
    names = {TENANT: str(tenant_id)}
    params: Any = {
        "mode": "subscription",
        "customer": customer_id,
        "client_reference_id": str(tenant_id),
        # A metered price takes no quantity.
        "line_items": [{"price": p} if metered else {"price": p, "quantity": 1} for p, metered in prices],
        "success_url": back,
        "cancel_url": cancelled,
        "expires_at": int(until.timestamp()),
        "metadata": names,
        "subscription_data": {
            "metadata": names,
            "billing_cycle_anchor": int(anchor.timestamp()),
            "proration_behavior": "create_prorations",
        },
    }
    with _asking() as client:
        return answers.session_of(client.v1.checkout.sessions.create(params).to_dict())


def checkout(session_id: str) -> answers.CheckoutSession:
    """Raises StripeRefused for one that is not there."""
    with _asking() as client:
        return answers.session_of(client.v1.checkout.sessions.retrieve(session_id).to_dict())


def open_checkouts(customer_id: str) -> list[answers.CheckoutSession]:
    """Those of a customer that can be paid."""
    with _asking() as client:
        found = client.v1.checkout.sessions.list({"customer": customer_id, "status": "open", "limit": _PAGE})
        return [answers.session_of(row.to_dict()) for row in found.data]


def expire_checkout(session_id: str) -> None:
    """Let a checkout be paid no more; one that is over is left as it is."""
    with _asking() as client:
        try:
            client.v1.checkout.sessions.expire(session_id)
        except stripe.InvalidRequestError:
            return


def portal(customer_id: str, *, back: str) -> str:
    """The address of Stripe's page for card, invoices and cancelling; good for minutes."""
    with _asking() as client:
        return str(
            client.v1.billing_portal.sessions.create({"customer": customer_id, "return_url": back}).url
        )


# --- Subscriptions
def subscriptions_of(customer_id: str) -> list[answers.State]:
    """Every subscription of a customer, ended ones too, newest first."""
    with _asking() as client:
        found = client.v1.subscriptions.list({"customer": customer_id, "status": "all", "limit": _PAGE})
        return [answers.state_of(row.to_dict()) for row in found.data]


def overdue_since(customer_id: str) -> dict[str, datetime]:
    """By subscription, when its oldest invoice that is open and was tried became final."""
    found: dict[str, datetime] = {}
    with _asking() as client:
        for invoice in client.v1.invoices.list(
            {"customer": customer_id, "status": "open", "limit": _PAGE}
        ).data:
            row = invoice.to_dict()
            subscription_id = answers.subscription_of_invoice(row)
            if not subscription_id or not row["attempted"] or row["amount_remaining"] <= 0:
                continue
            final = answers.moment(row["status_transitions"]["finalized_at"] or row["created"])
            found[subscription_id] = min(final, found.get(subscription_id, final))
    return found


def change_items(subscription_id: str, items: list[dict[str, Any]], *, now: bool, key: str) -> None:
    """Give a subscription other prices; Stripe prorates, and charges the difference `now` or with the next invoice.

    Raises CardRefused where it was to be charged now and was not: then nothing was changed.
    """
    params: Any = {"items": items, "proration_behavior": "always_invoice" if now else "create_prorations"}
    if now:
        params["payment_behavior"] = "error_if_incomplete"
    with _asking() as client:
        try:
            client.v1.subscriptions.update(subscription_id, params, {"idempotency_key": key})
        except stripe.CardError as error:
            raise CardRefused(f"The card could not be charged ({error.code}). Nothing was changed.") from None


def cancel(subscription_id: str) -> None:
    """End a subscription now and bill what was used; one that has ended is left as it is."""
    with _asking() as client:
        try:
            client.v1.subscriptions.cancel(subscription_id, {"invoice_now": True})
        except stripe.InvalidRequestError as error:
            if error.http_status != 404:
                raise


def metered_lines(customer_id: str) -> list[answers.MeteredLine]:
    """The lines that bill what our meter counts, of the customer's last hundred invoices that are no drafts: all of them,
    of whatever price."""
    with _asking() as client:
        of_ours: Any = {"recurring": {"meter": _our_meter()}, "limit": _PAGE}
        metered = {price.id for price in client.v1.prices.list(of_ours).auto_paging_iter()}
        found = client.v1.invoices.list({"customer": customer_id, "limit": _PAGE}).data
        return [
            answers.line_of(str(invoice.id), line)
            for invoice in found
            if invoice.status != "draft"
            for line in _lines(client, invoice)
            if answers.price_of(line) in metered
        ]


def _lines(client: stripe.StripeClient, invoice: stripe.Invoice) -> list[dict[str, Any]]:
    """All lines of an invoice: it shows its first ten, and those of usage come last."""
    if not invoice.lines.has_more:
        shown: list[dict[str, Any]] = invoice.to_dict()["lines"]["data"]
        return shown
    found = client.v1.invoices.line_items.list(str(invoice.id), {"limit": _PAGE}).auto_paging_iter()
    return [line.to_dict() for line in found]


def rate(price_id: str) -> answers.Rate:
    """What a metered price charges now and for ever: prices do not change."""
    with _asking() as client:
        return answers.rate_of(client.v1.prices.retrieve(price_id, {"expand": ["tiers"]}).to_dict())


def late_charges(customer_id: str) -> list[answers.LateCharge]:
    """What `charge_late` charged: all of it, as what is not seen would be charged again."""
    with _asking() as client:
        found = client.v1.invoice_items.list({"customer": customer_id, "limit": _PAGE}).auto_paging_iter()
        return [late for row in found if (late := answers.late_of(row.to_dict()))]


def charge_late(
    customer_id: str, subscription_id: str, charge: answers.LateCharge, *, currency: str, text: str, key: str
) -> None:
    """Put a charge, or a credit, on the subscription's next invoice. Raises StripeRefused where there is no next one."""
    about = {answers.LATE_PERIOD: charge.period.isoformat(), answers.LATE_RECORDS: str(charge.records)}
    params: Any = {
        "customer": customer_id, "subscription": subscription_id, "amount": charge.amount, "currency": currency,
        "description": text, "metadata": about,
    }  # fmt: skip
    with _asking() as client:
        client.v1.invoice_items.create(params, {"idempotency_key": key})


# --- Meters
def send_usage(customer_id: str, *, quantity: int, at: datetime, identifier: str, key: str) -> None:
    """Tell the meter. Raises Duplicate where it knows the identifier, StripeRefused where it will not have this very
    event, and StripeAway where nobody knows, or key or meter have to be put right. `key` is new for each try: v1 would
    repeat a saved 500 for a day."""
    with _asking(of_usage=True) as client:
        try:
            client.v1.billing.meter_events.create(
                {
                    "event_name": METER_EVENT, "identifier": identifier, "timestamp": int(at.timestamp()),
                    "payload": {"stripe_customer_id": customer_id, "value": str(quantity)},
                },
                {"idempotency_key": key},
            )  # fmt: skip
        except stripe.InvalidRequestError as error:
            if error.param == "identifier" or "identifier" in (error.user_message or str(error)):
                raise Duplicate("The meter knows this identifier.") from None
            if error.http_status != 400 or error.code in _METER_MISSING:
                raise StripeAway(f"Stripe has no meter for usage: {_what(error)}.") from None
            raise


def take_back_usage(identifier: str) -> None:
    """Cancel what was told under an identifier; possible within a day of its receipt. Raises StripeRefused later."""
    with _asking(of_usage=True) as client:
        client.v1.billing.meter_event_adjustments.create(
            {"event_name": METER_EVENT, "type": "cancel", "cancel": {"identifier": identifier}}
        )


def usage_between(customer_id: str, start: datetime, end: datetime) -> int:
    """What the meter has counted from `start` up to and without `end`; both on whole minutes. It may lag by minutes."""
    with _asking() as client:
        found = client.v1.billing.meters.event_summaries.list(
            _our_meter(),
            {"customer": customer_id, "start_time": int(start.timestamp()), "end_time": int(end.timestamp())},
        )
        return sum(int(Decimal(str(row.aggregated_value))) for row in found.data)


def _our_meter() -> str:
    return _meter_id(settings.STRIPE_SECRET_KEY, settings.STRIPE_API_BASE)


@cache
def _meter_id(key: str, base: str) -> str:
    for meter in (
        _client(key, base, RETRIES).v1.billing.meters.list({"limit": _PAGE, "status": "active"}).data
    ):
        if meter.event_name == METER_EVENT:
            return str(meter.id)
    raise StripeAway(f"Stripe has no meter “{METER_EVENT}”: run manage.py stripe_setup.")


def forget_meter() -> None:
    """Look for the meter again: another one was made."""
    _meter_id.cache_clear()


# --- What every call goes through
@contextmanager
def setting_up() -> Iterator[stripe.StripeClient]:
    """For `stripe_setup` alone, which makes the secret of the webhooks: needs the key, and nothing more. Raises BillingOff,
    StripeAway, StripeRefused."""
    with _asking(key_alone=True) as client:
        yield client


@cache
def _client(key: str, base: str, retries: int) -> stripe.StripeClient:
    return stripe.StripeClient(
        key,
        base_addresses={"api": base, "meter_events": base},
        max_network_retries=retries,
        http_client=stripe.RequestsClient(timeout=TIMEOUT_S),
    )


@contextmanager
def _asking(*, of_usage: bool = False, key_alone: bool = False) -> Iterator[stripe.StripeClient]:
    for connection in connections.all(initialized_only=True):
        # A test's own transaction is nobody's that waits.
        blocks = getattr(connection, "atomic_blocks", [])
        if connection.in_atomic_block and not all(block._from_testcase for block in blocks):
            raise RuntimeError(f"Stripe called inside a transaction on database {connection.alias!r}")
    if not (settings.STRIPE_SECRET_KEY if key_alone else enabled()):
        raise BillingOff(
            f"STRIPE_SECRET_KEY {'is' if key_alone else 'and STRIPE_WEBHOOK_SECRET are'} not set."
        )
    silence = USAGE_SILENCE if of_usage else SILENCE
    if not silence.may_call():
        raise StripeAway("Stripe has not answered for a while, and is asked again in a moment.")
    try:
        with silence.broken_by_all_but(stripe.APIConnectionError):
            # Telling of usage is tried again by the batch, under a key of each try's own.
            retries = 0 if of_usage else RETRIES
            yield _client(settings.STRIPE_SECRET_KEY, settings.STRIPE_API_BASE, retries)
    except (stripe.APIConnectionError, stripe.RateLimitError, stripe.APIError) as error:
        raise StripeAway(f"Stripe does not answer now: {_what(error)}.") from None
    except (stripe.AuthenticationError, stripe.PermissionError, stripe.IdempotencyError) as error:
        # About a key of ours, and nothing that was asked: the same again is right once the key is.
        raise StripeAway(f"Stripe does not take a key of ours: {_what(error)}.") from None
    except stripe.StripeError as error:
        raise StripeRefused(
            f"Stripe refused: {_what(error)}.", http_status=error.http_status, stripe_code=error.code,
            param=getattr(error, "param", None),
        ) from None  # fmt: skip


def _what(error: stripe.StripeError) -> str:
    """Type and code, and Stripe's own words where they are about parameters: never a card's or a person's."""
    words = str(error.user_message or "") if isinstance(error, stripe.InvalidRequestError) else ""
    return " ".join(filter(None, (type(error).__name__, error.code, words)))[:250].rstrip(".")
