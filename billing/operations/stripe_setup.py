"""What an account at Stripe needs for Weir: the meter, a product with two prices for each plan that costs, an endpoint."""

from decimal import Decimal
from typing import Any

from django.db import transaction

from billing import handlers, stripe_answers, stripe_gateway
from billing.models import Plan
from tenants.scope import OPS_ALIAS, ops_scope

WHY = "setting up Stripe"


def set_up() -> list[str]:
    """Make what is missing, and write the prices' ids on the plans; what was done, in words. Harmless twice.

    A plan whose price or quota was changed gets new prices: subscriptions go on with theirs, which name the plan too.
    """
    client = stripe_gateway.client()
    meter, done = _meter(client)
    with ops_scope(WHY):
        plans = list(Plan.objects.filter(price__gt=0))
    for plan in plans:
        product = _product(client, plan)
        base = _price(client, plan, product, "base", _base(plan))
        over = _price(client, plan, product, "overage", _overage(plan, meter)) if plan.overage_allowed else ""
        if (plan.stripe_price_id, plan.stripe_overage_price_id) == (base, over):
            continue
        with ops_scope(WHY), transaction.atomic(using=OPS_ALIAS):
            Plan.objects.filter(pk=plan.pk).update(stripe_price_id=base, stripe_overage_price_id=over)
        done.append(f"{plan.name}: {base}{f' and {over}' if over else ''}")
    stripe_gateway.forget_meter()
    return done


def listen(url: str) -> str:
    """Have Stripe send the events that we handle to this address; the secret that signs them, shown once."""
    params: Any = {
        "url": url,
        "enabled_events": sorted(handlers.KINDS),
        "api_version": stripe_gateway.API_VERSION,
    }
    return str(stripe_gateway.client().v1.webhook_endpoints.create(params).secret)


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
    if found:
        return str(found[0].id)
    common = {
        "product": product,
        "currency": plan.currency.lower(),
        "lookup_key": key,
        "metadata": {stripe_answers.PLAN: plan.slug},
    }
    return str(client.v1.prices.create(common | params).id)


def _base(plan: Plan) -> dict[str, Any]:
    return {
        "nickname": f"Weir {plan.name}",
        "unit_amount": int(plan.price * 100),
        "recurring": {"interval": "month", "usage_type": "licensed"},
    }


def _overage(plan: Plan, meter: str) -> dict[str, Any]:
    """All records are metered; those that the plan includes cost nothing."""
    each = (plan.overage_price * 100).normalize()
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
