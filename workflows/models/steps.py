"""Steps: the short-lived queue of what waits or is in flight, and the append-only history of what happened."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from tenants.base import TenantOwned
from workflows.states import StepOutcome, StepStatus


class StepQueue(TenantOwned):
    """One call to be made. Inserted, stamped once (a HOT update: no indexed column changes), deleted at settle."""

    looked_up_in_joins = True

    # No foreign keys: shared locks on hot rows.
    tenant = models.ForeignKey(
        "tenants.Tenant", models.CASCADE, related_name="+", db_index=False, db_constraint=False
    )
    lane_id = models.UUIDField()
    run_id = models.UUIDField()
    record_id = models.UUIDField()
    name = models.CharField(max_length=48, help_text="<operation>:<provider>")
    query = models.JSONField(help_text="what the vendor is asked")
    fingerprint = models.CharField(max_length=40)
    context = models.JSONField(default=list, help_text="the record's steps so far, for advance()")
    attempt = models.PositiveSmallIntegerField(default=1)
    crashes = models.PositiveSmallIntegerField(default=0)
    ready_at = models.DateTimeField(db_default=Now())
    not_before = models.DateTimeField(null=True)
    reason = models.CharField(max_length=16, blank=True, help_text="why it may not start before")
    tried_at = models.DateTimeField(null=True, help_text="when its first call was sent")
    sent_at = models.DateTimeField(null=True)
    deadline_at = models.DateTimeField(null=True)
    holder = models.UUIDField(null=True)
    reserved = models.BigIntegerField(default=0)
    # A vendor's name of the job and how far we are: neither the key nor the person (integrations/http.py).
    job = models.JSONField(null=True, help_text="what is under way at the vendor (lanes/work.py, Job)")
    job_until = models.DateTimeField(null=True, help_text="when the job counts as timed out")

    class Meta:
        db_table = "step_queue"
        indexes = [
            models.Index(
                fields=["lane_id", "run_id", "id"], name="step_queue_ready", condition=Q(not_before=None)
            ),
            models.Index(fields=["not_before"], name="step_queue_due", condition=Q(not_before__isnull=False)),
            models.Index(
                fields=["fingerprint"], name="step_queue_followers", condition=Q(reason="duplicate")
            ),
            models.Index(fields=["run_id"], name="step_queue_of_run"),
        ]

    def __str__(self) -> str:
        return f"{self.name} {self.record_id}"


class Step(TenantOwned):
    """One attempt, as it ended. Range-partitioned by its time-ordered id; retention drops partitions."""

    append_only = True
    looked_up_in_joins = True

    tenant = models.ForeignKey(
        "tenants.Tenant", models.CASCADE, related_name="+", db_index=False, db_constraint=False
    )
    lane_id = models.UUIDField(null=True)
    run_id = models.UUIDField()
    record_id = models.UUIDField()
    queue_id = models.UUIDField(help_text="the queue entry whose attempt this was")
    name = models.CharField(max_length=48)
    provider = models.CharField(max_length=32)
    operation = models.CharField(max_length=16)
    attempt = models.PositiveSmallIntegerField()
    status = models.CharField(max_length=16, choices=StepStatus)
    outcome = models.CharField(max_length=16, choices=StepOutcome, blank=True)
    reason = models.CharField(max_length=300, blank=True)
    answer = models.JSONField(null=True)
    http_status = models.PositiveSmallIntegerField(null=True)
    latency_ms = models.PositiveIntegerField(null=True)
    credits = models.BigIntegerField(default=0)
    ready_at = models.DateTimeField(null=True)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "step"
        indexes = [models.Index(fields=["tenant", "record_id", "id"], name="step_of_record")]
        ordering = ("id",)

    def __str__(self) -> str:
        return f"{self.name} {self.status}"
