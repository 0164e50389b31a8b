"""The append-only ledger of everything that is metered."""

from django.db import models
from django.db.models.functions import Now

from tenants.base import TenantOwned


class UsageEvent(TenantOwned):
    """One billable or shown thing, written in the transaction of the thing itself; `key` makes it unique.

    `record:<id>`: a record accepted (what plans include and bill). `attempt:<id>`: a vendor call with the vendor's
    credits (shown and capped, not billed by us).
    """

    append_only = True

    class Kind(models.TextChoices):
        RECORD = "record"
        ATTEMPT = "attempt"

    key = models.CharField(max_length=80)
    kind = models.CharField(max_length=16, choices=Kind)
    quantity = models.IntegerField(default=1, help_text="negative in corrections")
    credits = models.BigIntegerField(default=0, help_text="the vendor's credits, in thousandths")
    provider = models.CharField(max_length=32, blank=True)
    run_id = models.UUIDField(null=True)
    period = models.DateField(help_text="first day of the calendar month (UTC) that it counts in")
    livemode = models.BooleanField(default=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tenant", "key"], name="usageevent_once"),
        ]
        indexes = [models.Index(fields=["tenant", "period", "kind"], name="usageevent_period")]

    def __str__(self) -> str:
        return self.key


class UsageCounter(TenantOwned):
    """How many live records of a month a tenant has had accepted: the sum of its rows, equal to the ledger at any moment.

    Several rows, so that accepting waits for nobody (billing/quota.py, docs/decisions). `share` is how far a row's
    `records` may go where the plan stops hard; `share_of` is the quota that was shared out, null when none is.
    """

    period = models.DateField(help_text="first day of the calendar month (UTC)")
    slot = models.IntegerField(help_text="0-15: accepted; 16: put right; below 0: given back")
    records = models.BigIntegerField(default=0, db_default=0)
    share = models.BigIntegerField(default=0, db_default=0)
    share_of = models.BigIntegerField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tenant", "period", "slot"], name="usagecounter_once"),
        ]

    def __str__(self) -> str:
        return f"{self.period:%Y-%m} {self.records}"


class QuotaNotice(TenantOwned):
    """That a tenant was told how much of a month's quota it has used; once for each threshold of each quota."""

    period = models.DateField(help_text="first day of the calendar month (UTC)")
    percent = models.PositiveSmallIntegerField()
    used = models.BigIntegerField()
    included = models.BigIntegerField()
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "period", "percent", "included"], name="quotanotice_once"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.period:%Y-%m} {self.percent} %"


class ClosedLedger(models.Model):
    """What tenants that are gone had used: totals per month, under a random id, with nothing of what was looked up."""

    isolation = "system"

    closed_tenant = models.ForeignKey("tenants.ClosedTenant", on_delete=models.PROTECT, related_name="+")
    period = models.DateField(help_text="first day of the calendar month (UTC)")
    kind = models.CharField(max_length=16, choices=UsageEvent.Kind)
    provider = models.CharField(max_length=32, blank=True)
    livemode = models.BooleanField()
    entries = models.BigIntegerField()
    quantity = models.BigIntegerField()
    credits = models.BigIntegerField(help_text="the vendors' credits, in thousandths")

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["closed_tenant", "period", "kind", "provider", "livemode"], name="closedledger_once"
            ),
        ]
        ordering = ("-period", "kind", "provider")

    def __str__(self) -> str:
        return f"{self.period:%Y-%m} {self.kind}"
