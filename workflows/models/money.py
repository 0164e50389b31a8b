"""What a tenant's month has cost, and the calls of which nobody knows whether they were paid for."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from tenants.base import LONGEST_ACTOR, TenantOwned


class CreditMonth(TenantOwned):
    """Live credits of a calendar month (UTC), in thousandths. Kept only while the tenant has a monthly limit; when one
    is set, the row is counted anew from the ledger and the queue (operations/month_limit.py)."""

    month = models.DateField(help_text="its first day")
    spent = models.BigIntegerField(default=0)
    reserved = models.BigIntegerField(default=0, help_text="for calls that are stamped and not settled")

    class Meta:
        db_table = "credit_month"
        constraints = [models.UniqueConstraint(fields=["tenant", "month"], name="credit_month_once")]

    def __str__(self) -> str:
        return f"{self.month:%Y-%m}"


class AmbiguousCall(TenantOwned):
    """A call that may have been made and charged, and whose answer never came; `id` is its attempt's in the history.

    What it may have cost is booked as spent at once, and taken back when its answer comes after all, or a repeat that
    the vendor gives for nothing shows what it cost (`released_at`).
    """

    class Status(models.TextChoices):
        OPEN = "open", "Needs a decision"
        REPEATED = "repeated", "Asked again"
        ACCEPTED = "accepted", "Loss accepted"
        ANSWERED = "answered", "Answer came later"

    # No foreign keys: its run and record are hot, and erased with it.
    lane_id = models.UUIDField()
    run_id = models.UUIDField()
    record_id = models.UUIDField()
    queue_id = models.UUIDField(help_text="the queue entry whose attempt it was")
    attempt = models.PositiveSmallIntegerField()
    provider = models.CharField(max_length=32)
    operation = models.CharField(max_length=16)
    fingerprint = models.CharField(max_length=40)
    email = models.CharField(
        max_length=320, blank=True, help_text="the address that a verifier was asked for"
    )
    livemode = models.BooleanField()
    may_cost = models.BigIntegerField(help_text="booked as spent, in thousandths")
    repeat_is_free = models.BooleanField(help_text="the vendor does not charge a repeat")
    month = models.DateField(help_text="in which it is booked")
    status = models.CharField(max_length=16, choices=Status)
    reason = models.CharField(max_length=300, blank=True)
    decided_by = models.CharField(
        max_length=LONGEST_ACTOR, blank=True, help_text="empty: the connection's policy"
    )
    decided_at = models.DateTimeField(null=True)
    released_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "ambiguous_call"
        constraints = [
            models.UniqueConstraint(fields=["tenant", "queue_id", "attempt"], name="ambiguous_call_once")
        ]
        indexes = [
            models.Index(fields=["tenant", "-id"], name="ambiguous_call_newest"),
            models.Index(fields=["tenant", "record_id"], name="ambiguous_call_of_record"),
            models.Index(
                fields=["tenant", "run_id", "id"], name="ambiguous_call_open", condition=Q(status="open")
            ),
        ]
        ordering = ("-id",)

    def __str__(self) -> str:
        return f"{self.provider} {self.operation} {self.status}"
