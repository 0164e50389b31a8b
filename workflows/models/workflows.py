"""What a tenant set up: workflows, and the files it brought."""

from django.db import models
from django.db.models.functions import Now

from tenants.base import LONGEST_ACTOR, TenantOwned, owned_key


class Workflow(TenantOwned):
    """A template with the tenant's configuration. Runs keep a snapshot, so an edit changes later runs alone."""

    template = models.CharField(max_length=64)
    name = models.CharField(max_length=120)
    slug = models.SlugField(max_length=64)
    config = models.JSONField(default=dict)
    version = models.PositiveIntegerField(default=1)
    enabled = models.BooleanField(default=True)
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        db_table = "workflow"
        constraints = [
            models.UniqueConstraint(fields=["tenant", "slug"], name="workflow_slug_once"),
            owned_key("workflow"),
        ]
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name


class Upload(TenantOwned):
    """A CSV file as it was brought, and what was found in it. The file itself is in the default storage."""

    filename = models.CharField(max_length=200)
    stored_as = models.CharField(max_length=200)
    size = models.BigIntegerField(help_text="bytes")
    template = models.CharField(max_length=64, default="email-waterfall")
    dialect = models.JSONField(help_text="encoding, delimiter, header line")
    columns = models.JSONField(default=list)
    rows = models.PositiveIntegerField()
    blank_lines = models.PositiveIntegerField(default=0)
    mapping = models.JSONField(default=dict, help_text="field of ours -> column heading")
    sample = models.JSONField(default=list)
    errors = models.JSONField(default=list, help_text="the first faulty rows: line, code, message")
    error_count = models.PositiveIntegerField(default=0)
    created_by = models.CharField(max_length=LONGEST_ACTOR)
    created_at = models.DateTimeField(db_default=Now())
    purged_at = models.DateTimeField(
        null=True, help_text="when the file was deleted, after the tenant's retention"
    )

    class Meta:
        db_table = "upload"
        constraints = [owned_key("upload")]
        ordering = ("-created_at",)

    def __str__(self) -> str:
        return self.filename


class IdempotencyKey(TenantOwned):
    """A POST that was answered: the same key with the same body gets the same answer again for 24 hours."""

    key = models.CharField(max_length=255)
    body_hash = models.BinaryField(max_length=32)
    status = models.PositiveSmallIntegerField(
        null=True, help_text="null while the first request is under way"
    )
    response = models.JSONField(null=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "idempotency_key"
        constraints = [models.UniqueConstraint(fields=["tenant", "key"], name="idempotency_key_once")]

    def __str__(self) -> str:
        return self.key
