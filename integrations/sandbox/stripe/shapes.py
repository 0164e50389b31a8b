"""Objects as API version 2026-10-28.endive has them: what is required there is there, what moved is where it moved to."""

import secrets
from typing import Any

API_VERSION = "2026-10-28.endive"
Row = dict[str, Any]

DAY = 86_400
PREFIXES = {
    "customer": "cus",
    "product": "prod",
    "price": "price",
    "subscription": "sub",
    "subscription_item": "si",
    "invoice": "in",
    "line_item": "il",
    "invoiceitem": "ii",
    "checkout.session": "cs_test",
    "billing_portal.session": "bps",
    "billing.meter": "mtr_test",
    "payment_method": "pm",
    "charge": "ch",
    "dispute": "du",
    "event": "evt",
    "webhook_endpoint": "we",
    "test_helpers.test_clock": "clock",
}


def new(kind: str, at: int, **fields: Any) -> Row:
    """An object of a kind with an id of its own, made at this Unix time."""
    return {"id": name(kind), "object": kind, "created": at, "livemode": False, **fields}


def name(kind: str) -> str:
    return f"{PREFIXES[kind]}_{secrets.token_hex(10)}"


def listed(rows: list[Row], url: str, *, more: bool = False) -> Row:
    return {"object": "list", "data": rows, "has_more": more, "url": url}


def customer(at: int, **given: Any) -> Row:
    return new(
        "customer", at, address=None, balance=0, currency=None, customer_account=None, default_source=None,
        delinquent=False, description=None, discount=None, email=None,
        invoice_prefix=secrets.token_hex(4).upper(), name=None, next_invoice_sequence=1, phone=None,
        preferred_locales=[], shipping=None, tax_exempt="none", test_clock=None, metadata={},
        invoice_settings={
            "custom_fields": None, "default_payment_method": None, "footer": None, "rendering_options": None,
        },
    ) | given  # fmt: skip


def product(at: int, **given: Any) -> Row:
    return new(
        "product", at, active=True, default_price=None, description=None, images=[], marketing_features=[],
        metadata={}, name="", package_dimensions=None, shippable=None, statement_descriptor=None, tax_code=None,
        type="service", unit_label=None, updated=at, url=None,
    ) | given  # fmt: skip


def price(at: int, **given: Any) -> Row:
    return new(
        "price", at, active=True, billing_scheme="per_unit", currency="usd", custom_unit_amount=None,
        lookup_key=None, metadata={}, nickname=None, product=None, recurring=None, tax_behavior="unspecified",
        tiers_mode=None, transform_quantity=None, type="recurring", unit_amount=None, unit_amount_decimal=None,
    ) | given  # fmt: skip


def subscription(at: int, *, customer: str, currency: str, **given: Any) -> Row:
    return new(
        "subscription", at, application=None, application_fee_percent=None,
        automatic_tax={"disabled_reason": None, "enabled": False, "liability": None}, billing_cycle_anchor=at,
        billing_cycle_anchor_config=None,
        billing_mode={"flexible": {"proration_discounts": "included"}, "type": "flexible", "updated_at": None},
        billing_schedules=[], billing_thresholds=None, cancel_at=None, cancel_at_period_end=False,
        canceled_at=None, cancellation_details={"comment": None, "feedback": None, "reason": None},
        collection_method="charge_automatically", currency=currency, customer=customer, customer_account=None,
        days_until_due=None, default_payment_method=None, default_source=None, default_tax_rates=[],
        description=None, discounts=[], ended_at=None,
        invoice_settings={"account_tax_ids": None, "issuer": {"type": "self"}}, items=listed([], ""),
        latest_invoice=None, metadata={}, next_pending_invoice_item_invoice=None, on_behalf_of=None,
        pause_collection=None,
        payment_settings={
            "payment_method_options": None, "payment_method_types": None,
            "save_default_payment_method": "off",
        },
        pending_invoice_item_interval=None, pending_setup_intent=None, pending_update=None, schedule=None,
        start_date=at, status="incomplete", status_details=None, test_clock=None, transfer_data=None,
        trial_end=None,
        trial_settings={"end_behavior": {"missing_payment_method": "create_invoice"}}, trial_start=None,
    ) | given  # fmt: skip


def item(at: int, *, price: Row, subscription: str, start: int, end: int, quantity: int | None) -> Row:
    row = new(
        "subscription_item", at, billing_thresholds=None, current_period_end=end, current_period_start=start,
        discounts=[], metadata={}, plan=plan_of(price), price=price, subscription=subscription, tax_rates=[],
    )  # fmt: skip
    del row["livemode"]
    return row if quantity is None else row | {"quantity": quantity}


def plan_of(price: Row) -> Row:
    """The older twin of a price, which items still carry."""
    recurring = price["recurring"] or {}
    return {
        "id": price["id"], "object": "plan", "active": price["active"], "amount": price["unit_amount"],
        "amount_decimal": price["unit_amount_decimal"], "billing_scheme": price["billing_scheme"],
        "created": price["created"], "currency": price["currency"], "interval": recurring.get("interval"),
        "interval_count": recurring.get("interval_count"), "livemode": False, "metadata": price["metadata"],
        "meter": recurring.get("meter"), "nickname": price["nickname"], "product": price["product"],
        "tiers_mode": price["tiers_mode"], "transform_usage": None, "trial_period_days": None,
        "usage_type": recurring.get("usage_type"),
    }  # fmt: skip


def invoice(at: int, *, customer: Row, subscription: Row, reason: str, start: int, end: int) -> Row:
    row = new(
        "invoice", at, account_country="US", account_name="Weir sandbox", account_tax_ids=None, amount_due=0,
        amount_overpaid=0, amount_paid=0, amount_remaining=0, amount_shipping=0, application=None,
        attempt_count=0, attempted=False, auto_advance=True,
        automatic_tax={"disabled_reason": None, "enabled": False, "liability": None, "provider": None,
                       "status": None},
        automatically_finalizes_at=None, billing_reason=reason, collection_method="charge_automatically",
        currency=subscription["currency"], custom_fields=None, customer=customer["id"], customer_account=None,
        customer_address=None, customer_email=customer["email"], customer_name=customer["name"],
        customer_phone=None, customer_shipping=None, customer_tax_exempt="none", customer_tax_ids=[],
        default_payment_method=None, default_source=None, default_tax_rates=[], description=None, discounts=[],
        due_date=None, effective_at=None, ending_balance=None, footer=None, from_invoice=None,
        hosted_invoice_url=None, invoice_pdf=None, issuer={"type": "self"}, last_finalization_error=None,
        latest_revision=None, lines=listed([], ""), metadata={}, next_payment_attempt=None, number=None,
        on_behalf_of=None,
        parent={
            "quote_details": None,
            "subscription_details": {"metadata": dict(subscription["metadata"]),
                                     "subscription": subscription["id"]},
            "type": "subscription_details",
        },
        payment_settings={"default_mandate": None, "payment_method_options": None, "payment_method_types": None},
        period_end=end, period_start=start, post_payment_credit_notes_amount=0,
        pre_payment_credit_notes_amount=0, receipt_number=None, rendering=None, shipping_cost=None,
        shipping_details=None, starting_balance=0, statement_descriptor=None, status="draft",
        status_transitions={"finalized_at": None, "marked_uncollectible_at": None, "paid_at": None,
                            "voided_at": None},
        subtotal=0, subtotal_excluding_tax=0, test_clock=customer["test_clock"], total=0,
        total_discount_amounts=[], total_excluding_tax=0, total_pretax_credit_amounts=[], total_taxes=[],
        webhooks_delivered_at=None,
    )  # fmt: skip
    row["lines"]["url"] = f"/v1/invoices/{row['id']}/lines"
    return row


def line(
    *, invoice: str, subscription: str, item: Row, price: Row, amount: int, quantity: int, start: int, end: int,
    proration: bool, text: str,
) -> Row:  # fmt: skip
    return {
        "id": name("line_item"), "object": "line_item", "amount": amount, "currency": price["currency"],
        "description": text, "discount_amounts": [], "discountable": True, "discounts": [], "invoice": invoice,
        "livemode": False, "metadata": {},
        "parent": {
            "invoice_item_details": None,
            "subscription_item_details": {
                "invoice_item": None, "proration": proration, "proration_details": {"credited_items": None},
                "subscription": subscription, "subscription_item": item["id"],
            },
            "type": "subscription_item_details",
        },
        "period": {"end": end, "start": start}, "pretax_credit_amounts": [],
        "pricing": {
            "price_details": {"price": price["id"], "product": price["product"]}, "type": "price_details",
            "unit_amount_decimal": price["unit_amount_decimal"],
        },
        "quantity": quantity, "quantity_decimal": str(quantity), "subscription": subscription,
        "subtotal": amount, "taxes": [],
    }  # fmt: skip


def invoice_item(at: int, *, amount: int, subscription: str, **given: Any) -> Row:
    row = new(
        "invoiceitem", at, amount=amount, customer_account=None, date=at, discountable=amount > 0, discounts=[],
        invoice=None, net_amount=amount, period={"end": at, "start": at}, proration=False, quantity=1,
        quantity_decimal="1", tax_rates=[], test_clock=None,
        parent={
            "subscription_details": {"subscription": subscription, "subscription_item": None},
            "type": "subscription_details",
        },
        pricing={
            "price_details": {"price": name("price"), "product": name("product")}, "type": "price_details",
            "unit_amount_decimal": str(amount),
        },
    )  # fmt: skip
    del row["created"]
    return row | given


def line_of_item(row: Row) -> Row:
    """The line of an invoice that an invoice item becomes."""
    subscription = row["parent"]["subscription_details"]["subscription"]
    return {
        "id": name("line_item"), "object": "line_item", "amount": row["amount"], "currency": row["currency"],
        "description": row["description"], "discount_amounts": [], "discountable": row["discountable"],
        "discounts": [], "invoice": "", "livemode": False, "metadata": row["metadata"],
        "parent": {
            "invoice_item_details": {
                "invoice_item": row["id"], "proration": False, "proration_details": {"credited_items": None},
                "subscription": subscription,
            },
            "subscription_item_details": None, "type": "invoice_item_details",
        },
        "period": row["period"], "pretax_credit_amounts": [], "pricing": row["pricing"], "quantity": 1,
        "quantity_decimal": "1", "subscription": subscription, "subtotal": row["amount"], "taxes": [],
    }  # fmt: skip


def session(at: int, **given: Any) -> Row:
    return new(
        "checkout.session", at, adaptive_pricing={"enabled": False}, after_expiration=None,
        allow_promotion_codes=None, amount_subtotal=0, amount_total=0,
        automatic_tax={"enabled": False, "liability": None, "provider": None, "status": None},
        billing_address_collection=None, cancel_url=None, client_reference_id=None, client_secret=None,
        collected_information=None, consent=None, consent_collection=None, currency="usd",
        currency_conversion=None, custom_fields=[],
        custom_text={"after_submit": None, "shipping_address": None, "submit": None,
                     "terms_of_service_acceptance": None},
        customer=None, customer_account=None, customer_creation=None, customer_details=None,
        customer_email=None, discounts=[], expires_at=at + DAY, invoice=None, invoice_creation=None, locale=None,
        metadata={}, mode="subscription", origin_context=None, payment_intent=None, payment_link=None,
        payment_method_collection="always", payment_method_options={}, payment_method_types=["card"],
        payment_status="unpaid", permissions=None, phone_number_collection={"enabled": False},
        recovered_from=None, redirect_on_completion=None, return_url=None,
        saved_payment_method_options=None, setup_intent=None, shipping_address_collection=None,
        shipping_cost=None, shipping_options=[], status="open", submit_type=None, subscription=None,
        success_url=None,
        total_details={"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0}, ui_mode="hosted_page",
        url=None, wallet_options=None,
    ) | given  # fmt: skip


def portal(at: int, **given: Any) -> Row:
    return new(
        "billing_portal.session", at, configuration="bpc_sandbox", customer=None, customer_account=None,
        flow=None, locale=None, on_behalf_of=None, return_url=None, url=None,
    ) | given  # fmt: skip


def meter(at: int, **given: Any) -> Row:
    return new(
        "billing.meter", at,
        customer_mapping={"event_payload_key": "stripe_customer_id", "type": "by_id"},
        default_aggregation={"formula": "sum"}, display_name="", event_name="", event_time_window=None,
        status="active", status_transitions={"deactivated_at": None}, updated=at,
        value_settings={"event_payload_key": "value"},
    ) | given  # fmt: skip


def card(at: int, *, last4: str, customer: str) -> Row:
    return new(
        "payment_method", at, allow_redisplay="unspecified",
        billing_details={"address": None, "email": None, "name": None, "phone": None, "tax_id": None},
        card={"brand": "visa", "checks": None, "country": "US", "exp_month": 12, "exp_year": 2034,
              "fingerprint": f"sandbox{last4}", "funding": "credit", "last4": last4, "wallet": None},
        customer=customer, customer_account=None, metadata={}, type="card",
    )  # fmt: skip


def charge(at: int, *, invoice: Row) -> Row:
    return new(
        "charge", at, amount=invoice["amount_due"], currency=invoice["currency"], customer=invoice["customer"],
        disputed=False, metadata={}, paid=True, refunded=False, status="succeeded",
    )  # fmt: skip


def dispute(at: int, *, charge: Row) -> Row:
    return new(
        "dispute", at, amount=charge["amount"], balance_transactions=[], charge=charge["id"],
        currency=charge["currency"], enhanced_eligibility_types=[], evidence={},
        evidence_details={"due_by": at + 7 * DAY, "enhanced_eligibility": {}, "has_evidence": False,
                          "past_due": False, "submission_count": 0},
        is_charge_refundable=False, metadata={}, payment_intent=None, reason="fraudulent",
        status="needs_response",
    )  # fmt: skip


def clock(at: int, *, frozen_time: int, name: str | None) -> Row:
    return new(
        "test_helpers.test_clock", at, deletes_after=at + 30 * DAY, frozen_time=frozen_time, name=name,
        status="ready", status_details={"advancing": None},
    )  # fmt: skip


def endpoint(at: int, **given: Any) -> Row:
    return new(
        "webhook_endpoint", at, api_version=API_VERSION, application=None, description=None,
        enabled_events=["*"], metadata={}, status="enabled", url="",
    ) | given  # fmt: skip
