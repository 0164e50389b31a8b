"""A tenant's connections to vendors, and their secrets in tables of their own."""

from datetime import datetime, timedelta

from django.db import models
from django.db.models.functions import Now

from tenants.base import LONGEST_ACTOR, SameTenant, TenantOwned, owned_key, tenant_relation


class Connection(TenantOwned):
    """A tenant's own key for a vendor, with its prices and limits. The secret is in `ConnectionSecret`."""

    class Mode(models.TextChoices):
        LIVE = "live"
        SANDBOX = "sandbox"

    class Status(models.TextChoices):
        OK = "ok"
        AUTH_FAILED = "auth_failed", "Key refused"
        NO_CREDITS = "no_credits", "Out of credits"
        DEGRADED = "degraded"
        REAUTH_NEEDED = "reauth_needed", "Sign in again"

    class OnAmbiguous(models.TextChoices):
        REPEAT = "repeat"
        ASK = "ask"
        ACCEPT = "accept"

    provider = models.CharField(max_length=32)
    name = models.CharField(max_length=80, blank=True)
    mode = models.CharField(max_length=16, choices=Mode, default=Mode.LIVE)
    secret_hint = models.CharField(max_length=8, help_text="last four characters of the secret")
    key_hash = models.CharField(
        max_length=16, help_text="names the lane; a keyed hash, useless without our key"
    )
    windows = models.JSONField(default=list, help_text='[{"rate", "period" (s), "group"?}]')
    parallelism = models.PositiveIntegerField(default=10)
    price_per_credit = models.DecimalField(max_digits=12, decimal_places=6, null=True, blank=True)
    currency = models.CharField(max_length=3, default="USD")
    on_ambiguous = models.CharField(max_length=8, choices=OnAmbiguous, default=OnAmbiguous.REPEAT)
    status = models.CharField(max_length=16, choices=Status, default=Status.OK)
    balance = models.BigIntegerField(null=True, blank=True, help_text="the vendor's credits, in thousandths")
    balance_at = models.DateTimeField(null=True, blank=True, help_text="when the vendor told it")
    balance_per_hour = models.BigIntegerField(
        default=0, db_default=0, help_text="how fast it falls of late, in thousandths an hour"
    )
    low_balance = models.BigIntegerField(
        null=True, blank=True, help_text="tell when it is below this; null: below what waiting work may cost"
    )
    low_balance_told_at = models.DateTimeField(
        null=True, blank=True, help_text="when the admins were told that it is low; null while it is not"
    )
    removed_at = models.DateTimeField(
        null=True, blank=True, help_text="when its owner removed it; its key is gone, what it was asked stays"
    )
    last_ok_at = models.DateTimeField(null=True, blank=True)
    last_error = models.CharField(max_length=300, blank=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "provider", "mode", "key_hash"], name="connection_key_once"
            ),
            owned_key("connection"),
        ]
        ordering = ("provider", "created_at")

    def __str__(self) -> str:
        return f"{self.provider} …{self.secret_hint}"

    @property
    def runs_out_at(self) -> datetime | None:
        """About when the balance is used up at the pace of late; None where nobody can tell."""
        if not self.balance or self.balance_at is None or self.balance_per_hour <= 0:
            return None
        return self.balance_at + timedelta(hours=min(self.balance / self.balance_per_hour, 24 * 365))


class DataKey(TenantOwned):
    """A tenant's data key, wrapped by a master key; deleting it shreds the tenant's secrets."""

    isolation = "secret"

    master_key_id = models.CharField(max_length=16)
    wrapped = models.BinaryField()
    naming = models.BinaryField(
        null=True, help_text="names vendor keys; sealed by the data key, never renewed"
    )
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant"], name="datakey_one_per_tenant")]

    def __str__(self) -> str:
        return "data key"


class ConnectionSecret(TenantOwned):
    """The sealed secret of a connection: readable by the app login alone, and only opened at the moment of a call."""

    isolation = "secret"

    connection = tenant_relation("integrations.Connection", related_name="+")
    sealed = models.BinaryField()
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tenant", "connection"], name="connectionsecret_once"),
            SameTenant(
                field="connection", to="integrations.Connection", name="connectionsecret_connection_fk"
            ),
        ]

    def __str__(self) -> str:
        return "secret"


class Suppression(TenantOwned):
    """An address, a domain or a person never to be looked up or delivered.

    `value` is kept as people read it: a list that nobody can read cannot be kept right. It is found by `key`, its
    normalised form (suppression_keys.py), by equality alone.
    """

    class Kind(models.TextChoices):
        ADDRESS = "address"
        DOMAIN = "domain"
        PERSON = "person"

    kind = models.CharField(max_length=8, choices=Kind)
    value = models.CharField(max_length=510)
    key = models.CharField(max_length=800)
    created_by = models.CharField(max_length=LONGEST_ACTOR)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant", "key"], name="suppression_once")]
        indexes = [models.Index(fields=["tenant", "-id"], name="suppression_newest")]
        ordering = ("-id",)

    def __str__(self) -> str:
        return self.kind
