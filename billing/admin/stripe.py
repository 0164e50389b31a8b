"""What is held of Stripe, in the ops console: subscriptions, events with a way to handle them again, usage told."""

from typing import Any, ClassVar

from django.contrib import admin
from django.utils.safestring import SafeString
from unfold.decorators import display

from billing.models import BillingNotice, MeterBatch, StripeEvent, Subscription
from billing.operations import stripe_events, telling
from tenants.ops_console import cells, registry
from tenants.ops_console.actions import OpsAction
from tenants.ops_console.base import ReadOnlyAdmin
from tenants.ops_console.filters import TENANT, MadeFilter, choice, id_filter

registry.relate(
    "tenants.tenant", registry.Related("Subscription", "billing.subscription", "tenant__id__exact")
)
registry.relate("tenants.tenant", registry.Related("Usage told", "billing.meterbatch", "tenant__id__exact"))

REPLAY = OpsAction(
    name="replay",
    label="Handle again",
    done="event(s) handed over again",
    warning="Stripe is asked for the state again, and what follows from it is done. Harmless for an event that is done.",
    run=lambda event, actor: stripe_events.replay(row=event, actor=actor),
    icon="replay",
    of_nobody=True,
)
SEND_AGAIN = OpsAction(
    name="send_again",
    label="Send again",
    done="batch(es) to be sent again",
    warning="First put right what it was refused for. Stripe's meter is read before anything is sent, so that nothing is "
    "told twice.",
    run=lambda batch, actor: telling.send_again(row=batch, actor=actor),
    applies=lambda batch: batch.state == MeterBatch.State.REFUSED,
    icon="replay",
)


@admin.register(Subscription)
class SubscriptionAdmin(ReadOnlyAdmin):
    """Who pays for what, as Stripe said when it was asked last."""

    list_display = (
        "short_id",
        "tenant_link",
        "status",
        "plan",
        "period_end",
        "grace_until",
        "trouble",
        "synced_at",
    )
    list_filter = (TENANT,)
    fields = (
        "id", "tenant_link", ("customer_id", "subscription_id"), ("status", "plan", "price_id"),
        ("began_at", "period_end", "cancel_at", "trial_end"), ("overdue_since", "grace_until"), "trouble",
        ("metered_from", "price_includes", "agreed"), "synced_at", ("asked", "applied"),
    )  # fmt: skip
    readonly_fields = ("id", "tenant_link")


@admin.register(StripeEvent)
class StripeEventAdmin(ReadOnlyAdmin):
    """What Stripe posted, as it came. Those that failed wait for somebody."""

    list_display = ("short_id", "type", "state_pill", "tries", "posts", "tenant", "error", "received_at")
    list_filter = (choice("state"), id_filter("tenant_id", "tenant"), MadeFilter)
    list_select_related = False
    search_fields = ("event_id__exact", "customer_id__exact")
    search_help_text = "Stripe's id of the event or the customer, whole"
    actions: ClassVar[list[Any]] = [REPLAY.in_bulk()]
    page_actions = (REPLAY,)
    actions_detail = ("replay",)
    replay = REPLAY.on_page()
    fields = (
        "id", ("event_id", "type", "api_version"), ("customer_id", "object_id", "tenant"),
        ("state", "tries", "posts"), "error", ("happened_at", "received_at", "due_at", "handled_at"), "body",
    )  # fmt: skip
    readonly_fields = ("id", "tenant")
    # Whose it is may be gone, and so its trail.
    views_are_noted = False

    @display(description="state")
    def state_pill(self, obj: StripeEvent) -> SafeString | str:
        return cells.pill(
            "failed" if obj.state == StripeEvent.State.FAILED else "done", obj.get_state_display()
        )

    @display(description="tenant")
    def tenant(self, obj: StripeEvent) -> SafeString | str:
        return cells.page("tenants.tenant", obj.tenant_id) if obj.tenant_id else ""


@admin.register(MeterBatch)
class MeterBatchAdmin(ReadOnlyAdmin):
    """Records told to Stripe's meter, and what became of it."""

    list_display = (
        "short_id",
        "tenant_link",
        "period",
        "quantity",
        "state",
        "tries",
        "answer",
        "sent_at",
        "created",
    )
    list_filter = (TENANT, choice("state"), MadeFilter)
    actions: ClassVar[list[Any]] = [SEND_AGAIN.in_bulk()]
    page_actions = (SEND_AGAIN,)
    actions_detail = ("send_again",)
    send_again = SEND_AGAIN.on_page()
    fields = (
        "id", "tenant_link", "identifier", ("period", "at", "quantity"), ("state", "tries", "answer"),
        ("first_tried_at", "due_at", "sent_at", "created_at"),
    )  # fmt: skip
    readonly_fields = ("id", "tenant_link")


@admin.register(BillingNotice)
class BillingNoticeAdmin(ReadOnlyAdmin):
    """Mails about billing: each thing is told once."""

    list_display = ("short_id", "tenant_link", "kind", "about", "mailed", "done_at", "made_at")
    list_filter = (TENANT, choice("kind"), MadeFilter)
    fields = (
        "id",
        "tenant_link",
        "kind",
        "about",
        "detail",
        ("made_at", "due_at", "tries"),
        ("done_at", "mailed"),
    )
    readonly_fields = ("id", "tenant_link")
