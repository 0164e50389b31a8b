"""What vendors post back about calls: stored before it is answered, read by the engine, then emptied."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from tenants.base import TenantOwned


class Callback(TenantOwned):
    """One body that was posted to a call's address; posted again, it is counted. Its answer ends up in the history."""

    class State(models.TextChoices):
        NEW = "new", "Not read yet"
        READ = "read"
        UNREADABLE = "unreadable"
        LATE = "late", "Came late"

    # No foreign keys: the entry goes when it is settled, and the hook locks as little as it can.
    tenant = models.ForeignKey(
        "tenants.Tenant", models.CASCADE, related_name="+", db_index=False, db_constraint=False
    )
    entry_id = models.UUIDField(help_text="the queue entry whose call gave this address")
    record_id = models.UUIDField()
    attempt = models.PositiveSmallIntegerField()
    digest = models.CharField(max_length=64, help_text="SHA-256 of the body")
    body = models.BinaryField()
    posts = models.PositiveIntegerField(default=1, help_text="how often this body was posted")
    state = models.CharField(max_length=16, choices=State, default=State.NEW)
    received_at = models.DateTimeField(db_default=Now())
    read_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "callback"
        constraints = [
            models.UniqueConstraint(fields=["tenant", "entry_id", "attempt", "digest"], name="callback_once"),
        ]
        indexes = [models.Index(fields=["received_at"], name="callback_new", condition=Q(state="new"))]

    def __str__(self) -> str:
        return f"{self.entry_id} {self.state}"
