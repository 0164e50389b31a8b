"""Runs and their records: what was brought in, how far it got, and what came out."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from tenants.base import (
    LONGEST_ACTOR,
    SameTenant,
    TenantOwned,
    owned_key,
    tenant_relation,
    vouched_tenant,
)
from workflows.states import RecordStatus, RunStatus


class Run(TenantOwned):
    """One batch of records through one workflow. The counts are kept by the transactions that move the records."""

    class Source(models.TextChoices):
        API = "api", "API"
        UPLOAD = "upload"
        UI = "ui", "Web"
        HOOK = "hook"
        DEMO = "demo"

    tenant = vouched_tenant()
    workflow = tenant_relation(
        "workflows.Workflow", related_name="runs", on_delete=models.PROTECT, db_index=False
    )
    upload = tenant_relation(
        "workflows.Upload", null=True, on_delete=models.PROTECT, related_name="+", db_index=False
    )
    template = models.CharField(max_length=64)
    config = models.JSONField(help_text="the workflow's configuration when the run was accepted")
    lanes = models.JSONField(default=dict, help_text="provider -> lane id")
    mapping = models.JSONField(default=dict)
    status = models.CharField(max_length=16, choices=RunStatus, default=RunStatus.QUEUED)
    source = models.CharField(max_length=16, choices=Source)
    name = models.CharField(max_length=200, blank=True)
    livemode = models.BooleanField(default=True)
    priority = models.PositiveSmallIntegerField(default=5, help_text="0 to 9, higher goes first")
    callback_url = models.URLField(max_length=500, blank=True)
    metadata = models.JSONField(default=dict)
    created_by = models.CharField(max_length=LONGEST_ACTOR)
    error = models.CharField(max_length=300, blank=True)

    total = models.PositiveIntegerField(default=0)
    pending = models.PositiveIntegerField(
        default=0, help_text="records that are not final; at 0 the run completes"
    )
    filled = models.PositiveIntegerField(default=0, help_text="rows of the upload that have become records")
    filled_at = models.DateTimeField(null=True, help_text="when the last rows became records")
    queued = models.PositiveIntegerField(default=0)
    running = models.PositiveIntegerField(default=0)
    found = models.PositiveIntegerField(default=0)
    not_found = models.PositiveIntegerField(default=0)
    done = models.PositiveIntegerField(default=0)
    failed = models.PositiveIntegerField(default=0)
    skipped = models.PositiveIntegerField(default=0)
    cancelled = models.PositiveIntegerField(default=0)

    # The vendors' credits, in thousandths.
    credits_estimated = models.BigIntegerField(default=0)
    credits_reserved = models.BigIntegerField(default=0)
    credits_spent = models.BigIntegerField(default=0)
    credit_limit = models.BigIntegerField(null=True, blank=True)

    created_at = models.DateTimeField(db_default=Now())
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    purged_at = models.DateTimeField(
        null=True, blank=True, help_text="when its records were deleted, after the tenant's retention"
    )

    class Meta:
        db_table = "run"
        constraints = [
            owned_key("run"),
            SameTenant(
                field="workflow", to="workflows.Workflow", name="run_workflow_fk", on_delete="RESTRICT"
            ),
            SameTenant(field="upload", to="workflows.Upload", name="run_upload_fk", on_delete="RESTRICT"),
        ]
        indexes = [
            models.Index(fields=["tenant", "status", "-id"], name="run_by_status"),
            models.Index(fields=["tenant", "workflow", "-id"], name="run_by_workflow"),
            models.Index(fields=["tenant", "upload"], name="run_of_upload", condition=~Q(upload=None)),
            models.Index(fields=["tenant", "-id"], name="run_newest_test", condition=Q(livemode=False)),
            models.Index(
                fields=["finished_at"],
                name="run_ended_to_purge",
                condition=Q(purged_at=None, finished_at__isnull=False),
            ),
        ]
        ordering = ("-id",)

    def __str__(self) -> str:
        return self.name or str(self.pk)

    @property
    def is_final(self) -> bool:
        return self.finished_at is not None

    @property
    def finished_records(self) -> int:
        return self.total - self.pending


class Record(TenantOwned):
    """One contact (or business event) of a run."""

    looked_up_in_joins = True

    tenant = vouched_tenant()
    run = tenant_relation("workflows.Run", related_name="records", db_index=False)
    position = models.PositiveIntegerField(help_text="1 for the run's first record")
    line = models.PositiveIntegerField(null=True, help_text="line of the uploaded file")
    input = models.JSONField()
    # What cleaning changed, as it was brought: exports give it back.
    original = models.JSONField(null=True)
    output = models.JSONField(null=True)
    status = models.CharField(max_length=16, choices=RecordStatus, default=RecordStatus.QUEUED)
    error = models.JSONField(null=True, help_text='{"code", "message"}')
    credits = models.BigIntegerField(default=0, help_text="the vendors' credits, in thousandths")
    created_at = models.DateTimeField(db_default=Now())
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "record"
        constraints = [
            models.UniqueConstraint(fields=["tenant", "run", "position"], name="record_position_once"),
            # No table refers to it; claims look records up by it, which the policy makes dearer by any other way.
            owned_key("record"),
            SameTenant(field="run", to="workflows.Run", name="record_run_fk"),
        ]
        indexes = [models.Index(fields=["tenant", "run", "status", "position"], name="record_by_status")]
        ordering = ("run", "position")

    def __str__(self) -> str:
        return f"{self.run_id} #{self.position}"


class RunEvent(TenantOwned):
    """Every transition of a run that a person or the engine made, in time order. Append-only."""

    append_only = True

    tenant = vouched_tenant()
    run = tenant_relation("workflows.Run", related_name="events", on_delete=models.PROTECT, db_index=False)
    record_id = models.UUIDField(null=True)
    kind = models.CharField(max_length=48)
    detail = models.JSONField(default=dict)
    actor = models.CharField(max_length=LONGEST_ACTOR)
    at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "run_event"
        constraints = [
            SameTenant(field="run", to="workflows.Run", name="run_event_keeps_run", on_delete="RESTRICT")
        ]
        indexes = [models.Index(fields=["tenant", "run", "id"], name="run_event_in_order")]
        ordering = ("id",)

    def __str__(self) -> str:
        return self.kind


class RunVendor(TenantOwned):
    """What each vendor did for a run: kept by the engine, so that a live page need not count steps."""

    looked_up_in_joins = True

    run = tenant_relation("workflows.Run", related_name="vendors")
    provider = models.CharField(max_length=32)
    operation = models.CharField(max_length=16)
    calls = models.PositiveIntegerField(default=0)
    hits = models.PositiveIntegerField(default=0)
    misses = models.PositiveIntegerField(default=0)
    cached = models.PositiveIntegerField(default=0)
    errors = models.PositiveIntegerField(default=0)
    accepted = models.PositiveIntegerField(
        default=0, help_text="records whose final answer came from this vendor"
    )
    credits = models.BigIntegerField(default=0)

    class Meta:
        db_table = "run_vendor"
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "run", "provider", "operation"], name="run_vendor_once"
            ),
            SameTenant(field="run", to="workflows.Run", name="run_vendor_run_fk"),
        ]
        ordering = ("id",)

    def __str__(self) -> str:
        return f"{self.provider} {self.operation}"
