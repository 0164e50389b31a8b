"""What we hold of Stripe: whom it bills for what, what it told us, what we told it, and which mails follow from that."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from tenants.base import TenantOwned
from tenants.ids import uuid7

LONGEST_ID = 255


class Subscription(TenantOwned):
    """A tenant's customer and subscription at Stripe, as they were when Stripe was last asked.

    `plan` is what Stripe's state gave last, not what the tenant has: operators may have set another since, and theirs
    stays until Stripe's state gives something else.
    """

    customer_id = models.CharField(max_length=LONGEST_ID)
    subscription_id = models.CharField(max_length=LONGEST_ID, blank=True, default="")
    status = models.CharField(max_length=32, blank=True, default="", help_text="Stripe's word")
    plan = models.CharField(max_length=32, blank=True, default="", help_text="what this state gives")
    price_id = models.CharField(max_length=LONGEST_ID, blank=True, default="")
    began_at = models.DateTimeField(null=True, help_text="when the subscription began")
    period_end = models.DateTimeField(null=True)
    cancel_at = models.DateTimeField(null=True)
    trial_end = models.DateTimeField(null=True)
    overdue_since = models.DateTimeField(null=True, help_text="when the oldest unpaid invoice was made final")
    grace_until = models.DateTimeField(null=True)
    metered_from = models.DateField(null=True, help_text="the first month whose records are told to Stripe")
    price_includes = models.BigIntegerField(null=True, help_text="records a month that the price includes")
    agreed = models.JSONField(
        default=dict, db_default={}, help_text="by month, records included beyond the price: not told"
    )
    checkout_id = models.CharField(max_length=LONGEST_ID, blank=True, default="")
    checkout_plan = models.CharField(max_length=32, blank=True, default="")
    changed_at = models.DateTimeField(null=True, help_text="when somebody chose another plan last")
    buying_until = models.DateTimeField(null=True, help_text="until when a purchase is under way")
    trouble = models.CharField(
        max_length=200, blank=True, default="", help_text="what an operator has to look at"
    )
    # Whoever asks Stripe takes a number first; an answer counts unless one with a higher number was written already.
    asked = models.PositiveBigIntegerField(default=0)
    applied = models.PositiveBigIntegerField(default=0)
    synced_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tenant"], name="subscription_one_per_tenant"),
            models.UniqueConstraint(fields=["customer_id"], name="subscription_customer_key"),
        ]
        indexes = [
            models.Index(
                fields=["grace_until"], name="subscription_grace", condition=Q(grace_until__isnull=False)
            ),
            models.Index(fields=["synced_at"], name="subscription_synced"),
        ]

    def __str__(self) -> str:
        return self.customer_id


class StripeEvent(models.Model):
    """One event, stored before it is answered and known by Stripe's id; posted again, it is counted."""

    isolation = "system"

    class State(models.TextChoices):
        NEW = "new", "To be handled"
        DONE = "done"
        KEPT = "kept", "Kept: nothing follows from it"
        FAILED = "failed", "Failed: needs somebody"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    event_id = models.CharField(max_length=LONGEST_ID, unique=True)
    type = models.CharField(max_length=120)
    customer_id = models.CharField(max_length=LONGEST_ID, blank=True, default="")
    object_id = models.CharField(max_length=LONGEST_ID, blank=True, default="")
    api_version = models.CharField(max_length=40, blank=True, default="")
    body = models.TextField(help_text="as it was posted; ids alone where nothing follows from it")
    posts = models.PositiveIntegerField(default=1, help_text="how often it was posted")
    state = models.CharField(max_length=8, choices=State, default=State.NEW)
    tries = models.PositiveSmallIntegerField(default=0)
    due_at = models.DateTimeField(db_default=Now())
    error = models.CharField(max_length=300, blank=True, default="")
    tenant_id = models.UUIDField(null=True, help_text="whose it turned out to be")
    happened_at = models.DateTimeField(help_text="Stripe's time of it")
    received_at = models.DateTimeField(db_default=Now())
    handled_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [
            models.Index(fields=["due_at"], name="stripeevent_due", condition=Q(state="new")),
            models.Index(fields=["tenant_id"], name="stripeevent_tenant"),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.event_id}"


class BillingNotice(TenantOwned):
    """A mail to a tenant's admins that something of its billing asks for: once for each thing that it is about."""

    class Kind(models.TextChoices):
        PAYMENT_FAILED = "payment_failed"
        TRIAL_ENDING = "trial_ending"
        PLAN_CHANGED = "plan_changed"
        DISPUTED = "disputed"
        QUOTA_WARNING = "quota_warning"

    kind = models.CharField(max_length=16, choices=Kind)
    about = models.CharField(
        max_length=LONGEST_ID, help_text="what it is about: Stripe's id, or a change of plan"
    )
    detail = models.JSONField(default=dict)
    made_at = models.DateTimeField(db_default=Now())
    due_at = models.DateTimeField(db_default=Now())
    tries = models.PositiveSmallIntegerField(default=0)
    done_at = models.DateTimeField(null=True)
    mailed = models.BooleanField(default=False, help_text="false and done: nothing was left to tell")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tenant", "kind", "about"], name="billingnotice_once"),
        ]
        indexes = [models.Index(fields=["due_at"], name="billingnotice_due", condition=Q(done_at=None))]

    def __str__(self) -> str:
        return f"{self.kind} {self.about}"


class MeterBatch(TenantOwned):
    """Records of one month that are told to Stripe's meter together: the ledger's total less what batches before told.

    `at` is a minute of that month which no other batch of the tenant has: what the meter has in that minute says whether
    this very batch arrived.
    """

    class State(models.TextChoices):
        DUE = "due", "To be sent"
        UNSURE = "unsure", "Sent, and nobody knows whether it arrived"
        SENT = "sent"
        RETRACT = "retract", "Sent, and to be taken back"
        RETRACTED = "retracted", "Taken back: counts for nothing"
        REFUSED = "refused", "Refused: needs somebody"
        TOO_LATE = "too_late", "Too late for the meter: needs somebody"

    identifier = models.CharField(max_length=100)
    period = models.DateField(help_text="first day of the calendar month (UTC)")
    at = models.DateTimeField(help_text="the minute that the meter is told")
    quantity = models.BigIntegerField()
    state = models.CharField(max_length=16, choices=State, default=State.DUE)
    tries = models.PositiveIntegerField(default=0)
    first_tried_at = models.DateTimeField(null=True, help_text="since when it may have arrived")
    due_at = models.DateTimeField(db_default=Now())
    sent_at = models.DateTimeField(null=True)
    answer = models.CharField(max_length=300, blank=True, default="")
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tenant", "identifier"], name="meterbatch_identifier"),
            models.UniqueConstraint(fields=["tenant", "at"], name="meterbatch_own_minute"),
            models.CheckConstraint(condition=Q(quantity__gt=0), name="meterbatch_positive"),
        ]
        indexes = [
            models.Index(fields=["tenant", "period"], name="meterbatch_period"),
            models.Index(
                fields=["due_at"], name="meterbatch_due", condition=Q(state__in=["due", "unsure", "retract"])
            ),
        ]

    def __str__(self) -> str:
        return self.identifier
