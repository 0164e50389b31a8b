"""What tenants are told at addresses of their own: endpoints, their secrets, events, deliveries and attempts."""

from urllib.parse import urlsplit

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from tenants.base import LONGEST_ACTOR, SameTenant, TenantOwned, owned_key, tenant_relation

SEVERAL = 3


class WebhookEndpoint(TenantOwned):
    """An address of a tenant's that is told of events, or (kind callback, one per tenant) what the callback addresses of
    its runs have in common: the secret. How its deliveries went of late is kept here, in columns that no index has."""

    class Kind(models.TextChoices):
        ENDPOINT = "endpoint"
        CALLBACK = "callback", "Run callbacks"

    class Status(models.TextChoices):
        ENABLED = "enabled"
        DISABLED = "disabled"

    class Reason(models.TextChoices):
        """Why it is disabled."""

        PERSON = "person", "Switched off"
        GONE = "gone", "Answered 410 Gone"
        FAILING = "failing", "Failed for days"

    class Notice(models.TextChoices):
        """What its tenant's admins are still to be told by mail."""

        FAILING = "failing"
        DISABLED = "disabled"

    kind = models.CharField(max_length=8, choices=Kind, default=Kind.ENDPOINT)
    url = models.CharField(max_length=500, blank=True)
    description = models.CharField(max_length=120, blank=True)
    events = models.JSONField(default=list, help_text="names of the events that it listens to")
    status = models.CharField(max_length=8, choices=Status, default=Status.ENABLED)
    reason = models.CharField(max_length=8, choices=Reason, blank=True)
    disabled_at = models.DateTimeField(null=True, blank=True)
    failures = models.PositiveIntegerField(default=0, help_text="attempts in a row that failed")
    failing_since = models.DateTimeField(null=True, blank=True)
    rest_until = models.DateTimeField(null=True, blank=True, help_text="no attempt before")
    last_ok_at = models.DateTimeField(null=True, blank=True)
    notice = models.CharField(max_length=8, choices=Notice, blank=True)
    warned_at = models.DateTimeField(
        null=True, blank=True, help_text="when the admins were told that it fails"
    )
    created_by = models.CharField(max_length=LONGEST_ACTOR)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            owned_key("webhookendpoint"),
            models.UniqueConstraint(
                fields=["tenant"], condition=Q(kind="callback"), name="webhookendpoint_one_callback"
            ),
        ]
        ordering = ("id",)

    def __str__(self) -> str:
        return self.host or "Run callbacks"

    @property
    def host(self) -> str:
        """What may be named of the address: its path may be a secret."""
        return urlsplit(self.url).netloc.rpartition("@")[2] if self.url else ""

    @property
    def title(self) -> str:
        """For the tenant's own eyes."""
        return self.url or "Run callbacks"

    @property
    def is_failing(self) -> bool:
        """Whether it is on and has failed several times in a row: once may happen to anybody."""
        return self.status == self.Status.ENABLED and self.failures >= SEVERAL


class WebhookSecret(TenantOwned):
    """A sealed signing secret of an endpoint. While one replaces another, both sign, until the old one expires."""

    isolation = "secret"

    endpoint = tenant_relation("integrations.WebhookEndpoint", related_name="+", db_index=False)
    sealed = models.BinaryField()
    created_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField(null=True, help_text="null: the present one")

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "endpoint"],
                condition=Q(expires_at=None),
                name="webhooksecret_one_present",
            ),
            SameTenant(field="endpoint", to="integrations.WebhookEndpoint", name="webhooksecret_endpoint_fk"),
        ]
        indexes = [models.Index(fields=["tenant", "endpoint"], name="webhooksecret_of_endpoint")]

    def __str__(self) -> str:
        return "secret"


class WebhookMessage(TenantOwned):
    """An event, written in the transaction of what it tells about. Its id is the receiver's key against repetitions."""

    event = models.CharField(max_length=32)
    key = models.CharField(max_length=200, blank=True, help_text="events of one key are one event")
    body = models.TextField(help_text="what is signed and sent, to the byte the same each time")
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            owned_key("webhookmessage"),
            models.UniqueConstraint(
                fields=["tenant", "key"], condition=~Q(key=""), name="webhookmessage_key_once"
            ),
        ]
        indexes = [models.Index(fields=["created_at"], name="webhookmessage_by_age")]

    def __str__(self) -> str:
        return self.event


class WebhookDelivery(TenantOwned):
    """An event on its way to one endpoint. While `due_at` is not null somebody has to send it.

    Who takes it moves `due_at` to when its lease ends and puts its name into `holder`: what a dead sender held is due again
    by itself. `tries` counts the attempts of the present schedule; a crash uses none up.
    """

    class Status(models.TextChoices):
        WAITING = "waiting"
        DELIVERED = "delivered"
        EXHAUSTED = "exhausted", "Gave up"
        HELD = "held", "Endpoint is off"

    message = tenant_relation("integrations.WebhookMessage", related_name="deliveries", db_index=False)
    endpoint = tenant_relation("integrations.WebhookEndpoint", related_name="deliveries", db_index=False)
    lane = models.UUIDField(help_text="what waits in line together: the endpoint, or a callback's host")
    url = models.CharField(max_length=500, blank=True, help_text="of a callback; else the endpoint's own")
    status = models.CharField(max_length=9, choices=Status, default=Status.WAITING)
    due_at = models.DateTimeField(null=True, blank=True, db_default=Now())
    holder = models.UUIDField(null=True, blank=True)
    tries = models.PositiveSmallIntegerField(default=0, db_default=0)
    attempts = models.PositiveIntegerField(default=0, db_default=0, help_text="ever made")
    last_status = models.PositiveSmallIntegerField(null=True, blank=True)
    last_error = models.CharField(max_length=120, blank=True, db_default="")
    last_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now())
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            owned_key("webhookdelivery"),
            models.UniqueConstraint(fields=["tenant", "message", "endpoint"], name="webhookdelivery_once"),
            SameTenant(field="message", to="integrations.WebhookMessage", name="webhookdelivery_message_fk"),
            SameTenant(
                field="endpoint", to="integrations.WebhookEndpoint", name="webhookdelivery_endpoint_fk"
            ),
        ]
        indexes = [
            models.Index(fields=["lane", "due_at"], name="webhookdelivery_due", condition=~Q(due_at=None)),
            models.Index(fields=["tenant", "endpoint", "-id"], name="webhookdelivery_newest"),
            models.Index(fields=["tenant", "endpoint", "status", "-id"], name="webhookdelivery_by_status"),
        ]
        ordering = ("-id",)

    def __str__(self) -> str:
        return str(self.pk)


class WebhookAttempt(TenantOwned):
    """One attempt at a delivery: when, how long it took, and what came of it."""

    delivery = tenant_relation("integrations.WebhookDelivery", related_name="log", db_index=False)
    number = models.PositiveIntegerField()
    started_at = models.DateTimeField()
    latency_ms = models.PositiveIntegerField()
    http_status = models.PositiveSmallIntegerField(null=True, blank=True)
    error = models.CharField(max_length=120, blank=True)
    answer = models.TextField(blank=True, help_text="the beginning of the answer's body")

    class Meta:
        constraints = [
            SameTenant(
                field="delivery", to="integrations.WebhookDelivery", name="webhookattempt_delivery_fk"
            ),
        ]
        indexes = [models.Index(fields=["tenant", "delivery", "id"], name="webhookattempt_of_delivery")]
        ordering = ("id",)

    def __str__(self) -> str:
        return f"attempt {self.number}"
