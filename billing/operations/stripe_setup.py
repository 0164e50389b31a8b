"""What an account at Stripe needs for Weir: the meter, a product with two prices for each plan that costs, an endpoint."""

from decimal import Decimal
from typing import Any

from django.db import transaction

from billing import handlers, stripe_answers, stripe_gateway
from billing.models import Plan
from tenants.errors import InvalidInput
from tenants.scope import OPS_ALIAS, ops_scope

WHY = "setting up Stripe"
# docs.stripe.com/currencies, November 2026.
WHOLE = (
    "BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "VND", "VUV", "XAF", "XOF", "XPF",
)  # fmt: skip
"""Currencies without cents."""
ODD = ("BHD", "JOD", "KWD", "OMR", "TND", "ISK", "UGX")
"""Three decimals, or none and yet counted in hundredths."""


def set_up() -> list[str]:
    """Make what is missing, and write the prices' ids on the plans; what was done, in words. Harmless twice.

    A plan whose price or quota was changed gets new prices: subscriptions go on with theirs, which name the plan too. One
    that costs nothing any more is sold no more. Raises InvalidInput for a price that its currency cannot have, BillingOff,
    StripeAway, StripeRefused.
    """
    with ops_scope(WHY):
        plans = list(Plan.objects.all())
    with stripe_gateway.setting_up() as client:
        meter, done = _meter(client)
        for plan in plans:
            base, over = _prices(client, plan, meter) if plan.price > 0 else ("", "")
            if (plan.stripe_price_id, plan.stripe_overage_price_id) == (base, over):
                continue
            with ops_scope(WHY), transaction.atomic(using=OPS_ALIAS):
                Plan.objects.filter(pk=plan.pk).update(stripe_price_id=base, stripe_overage_price_id=over)
            done.append(
                f"{plan.name}: {base}{f' and {over}' if over else ''}"
                if base
                else f"{plan.name}: not for sale"
            )
    stripe_gateway.forget_meter()
    return done


def _prices(client: Any, plan: Plan, meter: str) -> tuple[str, str]:
    product = _product(client, plan)
    base = _price(client, plan, product, "base", _base(plan))
    return base, _price(
        client, plan, product, "overage", _overage(plan, meter)
    ) if plan.overage_allowed else ""


def listen(url: str) -> str:
    """Have Stripe send the events that we handle to this address; the secret that signs them, which is shown once. Empty
    where an endpoint listens there already: its secret stays what it was."""
    kinds: Any = sorted(handlers.KINDS)
    with stripe_gateway.setting_up() as client:
        for there in client.v1.webhook_endpoints.list({"limit": 100}).data:
            if there.url == url and there.api_version == stripe_gateway.API_VERSION:
                client.v1.webhook_endpoints.update(there.id, {"enabled_events": kinds, "disabled": False})
                return ""
        params: Any = {"url": url, "enabled_events": kinds, "api_version": stripe_gateway.API_VERSION}
        return str(client.v1.webhook_endpoints.create(params).secret)


def _meter(client: Any) -> tuple[str, list[str]]:
    for meter in client.v1.billing.meters.list({"limit": 100, "status": "active"}).data:
        if meter.event_name == stripe_gateway.METER_EVENT:
            return meter.id, []
    made = client.v1.billing.meters.create(
        {
            "display_name": "Records accepted",
            "event_name": stripe_gateway.METER_EVENT,
            "default_aggregation": {"formula": "sum"},
            "customer_mapping": {"type": "by_id", "event_payload_key": "stripe_customer_id"},
            "value_settings": {"event_payload_key": "value"},
        }
    )
    return made.id, [f"Meter: {made.id}"]


def _product(client: Any, plan: Plan) -> str:
    for product in client.v1.products.list({"limit": 100, "active": True}).data:
        if product.to_dict().get("metadata", {}).get(stripe_answers.PLAN) == plan.slug:
            return str(product.id)
    made = client.v1.products.create(
        {"name": f"Weir {plan.name}", "metadata": {stripe_answers.PLAN: plan.slug}}
    )
    return str(made.id)


def _price(client: Any, plan: Plan, product: str, what: str, params: dict[str, Any]) -> str:
    """The price with these very terms, which its lookup key names; prices cannot be changed."""
    tiers = "-".join(str(tier["unit_amount_decimal"]) for tier in params.get("tiers", []))
    amount = params.get("unit_amount", f"{plan.monthly_records}-{tiers}")
    key = f"weir-{plan.slug}-{what}-{plan.currency.lower()}-{amount}"
    found = client.v1.prices.list({"lookup_keys": [key], "active": True}).data
    told = {stripe_answers.PLAN: plan.slug}
    if what == "overage":
        told[stripe_answers.INCLUDES] = str(plan.monthly_records)
    if found:
        if (found[0].to_dict().get("metadata") or {}) != told:  # an earlier release made it
            client.v1.prices.update(found[0].id, {"metadata": told})
        return str(found[0].id)
    common: dict[str, Any] = {
        "product": product,
        "currency": plan.currency.lower(),
        "lookup_key": key,
        "metadata": told,
    }
    return str(client.v1.prices.create(common | params).id)


def _units(plan: Plan) -> int:
    """How many of Stripe's smallest units one of the currency is."""
    currency = plan.currency.upper()
    if currency in ODD:
        raise InvalidInput(
            f"{plan.name}: plans cannot be sold in {currency}, which Stripe counts in units of its own."
        )
    return 1 if currency in WHOLE else 100


def _amount(plan: Plan, price: Decimal) -> Decimal:
    amount = price * _units(plan)
    if amount != amount.to_integral_value():
        raise InvalidInput(
            f"{plan.name}: a price of {price} {plan.currency} has fractions that the currency has not."
        )
    return amount


def _base(plan: Plan) -> dict[str, Any]:
    return {
        "nickname": f"Weir {plan.name}",
        "unit_amount": int(_amount(plan, plan.price)),
        "recurring": {"interval": "month", "usage_type": "licensed"},
    }


def _overage(plan: Plan, meter: str) -> dict[str, Any]:
    """All records are metered; those that the plan includes cost nothing."""
    each = (plan.overage_price * _units(plan)).normalize()
    return {
        "nickname": f"Records over {plan.monthly_records:,}",
        "billing_scheme": "tiered",
        "tiers_mode": "graduated",
        "tiers": [
            {"up_to": plan.monthly_records, "unit_amount_decimal": "0"},
            {"up_to": "inf", "unit_amount_decimal": f"{Decimal(each):f}"},
        ],
        "recurring": {"interval": "month", "usage_type": "metered", "meter": meter},
    }
