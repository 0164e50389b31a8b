"""Tenants, people, the keys that integrators use, and what is left of tenants that are gone."""

import uuid
from typing import Any, ClassVar

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import PermissionsMixin
from django.contrib.postgres.fields import ArrayField
from django.db import models, transaction
from django.db.models.functions import Now
from django.utils import timezone

from tenants.base import LONGEST_ACTOR, SameTenant, TenantOwned, owned_key, tenant_relation
from tenants.ids import uuid7
from tenants.scope import OPS_ALIAS, open_tenant_id, ops_scope


class UserManager(BaseUserManager["User"]):
    def create_user(self, email: str, password: str | None = None, **extra: Any) -> "User":
        user = self.model(email=self.normalize_email(email).lower(), **extra)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **extra: Any) -> "User":
        """An operator makes it and vouches for its address, which counts as verified.

        By the ops login: no other may make staff (migration 0013).
        """
        with ops_scope("staff are made"), transaction.atomic(using=OPS_ALIAS):
            user = self.db_manager(OPS_ALIAS).create_user(
                email, password, is_staff=True, is_superuser=True, **extra
            )
            addresses: Any = user.emailaddress_set  # type: ignore[attr-defined]  # allauth's, from its side
            addresses.create(email=user.email, verified=True, primary=True)
        return user

    def get_by_natural_key(self, username: str | None) -> "User":
        return self.get(email=(username or "").lower())


class User(AbstractBaseUser, PermissionsMixin):
    """A person; signs in with an e-mail address, kept in lower case."""

    isolation = "identity"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    email = models.EmailField(unique=True)
    name = models.CharField(max_length=120, blank=True)
    is_staff = models.BooleanField(default=False, help_text="May sign in to the ops console.")
    is_active = models.BooleanField(default=True)
    date_joined = models.DateTimeField(default=timezone.now)

    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    objects = UserManager()

    class Meta:
        ordering = ("email",)

    def __str__(self) -> str:
        return self.email


class TenantManager(models.Manager["Tenant"]):
    """The open tenant alone inside a tenant scope; all of them inside an ops scope (RLS holds the rest)."""

    def get_queryset(self) -> models.QuerySet["Tenant"]:
        queryset = super().get_queryset()
        tenant_id = open_tenant_id()
        if tenant_id is not None and queryset.db != OPS_ALIAS:
            queryset = queryset.filter(pk=tenant_id)
        return queryset


RETENTION_DAYS = range(1, 3_651)


class Tenant(models.Model):
    """A customer: the boundary that no row, key or limit crosses."""

    isolation = "tenant"
    isolation_column = "id"

    class Status(models.TextChoices):
        ACTIVE = "active"
        SUSPENDED = "suspended"
        # Shut for good: what it holds is being erased (operations/delete_tenant.py).
        CLOSING = "closing"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    name = models.CharField(max_length=120)
    plan = models.CharField(max_length=32, default="free", help_text="Slug of the plan in billing.")
    status = models.CharField(max_length=16, choices=Status, default=Status.ACTIVE)
    # The vendors' credits, in thousandths, all connections together; null: no cap.
    monthly_credit_limit = models.BigIntegerField(null=True, blank=True)
    retention_days = models.PositiveIntegerField(default=90)  # one of RETENTION_DAYS
    suppress_subdomains = models.BooleanField(
        default=True, db_default=True, help_text="A suppressed domain covers the domains below it."
    )
    created_at = models.DateTimeField(db_default=Now())

    objects = TenantManager()

    class Meta:
        ordering = ("name",)
        constraints = [
            # Nothing goes at once, and no sum of days leaves what a date can be: that would stop everybody's retention.
            models.CheckConstraint(
                condition=models.Q(
                    retention_days__gte=RETENTION_DAYS.start, retention_days__lt=RETENTION_DAYS.stop
                ),
                name="tenant_retention_days",
                violation_error_message="Records are kept for 1 to 3,650 days.",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Membership(TenantOwned):
    class Role(models.TextChoices):
        ADMIN = "admin"
        EDITOR = "editor"
        VIEWER = "viewer"

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=16, choices=Role, default=Role.VIEWER)
    is_owner = models.BooleanField(
        default=False, db_default=False, help_text="The one administrator who answers for the tenant."
    )
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tenant", "user"], name="membership_once_per_tenant"),
            models.UniqueConstraint(
                fields=["tenant"], condition=models.Q(is_owner=True), name="membership_one_owner"
            ),
            models.CheckConstraint(
                condition=models.Q(is_owner=False) | models.Q(role="admin"), name="membership_owner_is_admin"
            ),
            owned_key("membership"),
        ]

    def __str__(self) -> str:
        return f"{self.user.email} {self.role}"


class Invitation(TenantOwned):
    """A person asked to join. Only the SHA-256 of the link's token is kept, as for API keys."""

    email = models.EmailField()
    role = models.CharField(max_length=16, choices=Membership.Role, default=Membership.Role.VIEWER)
    digest = models.BinaryField(max_length=32)
    invited_by = models.ForeignKey(User, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField()
    mailed_at = models.DateTimeField(null=True, blank=True, help_text="When the mail server took it.")
    accepted_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            # A digest of 256 random bits reveals nothing about another tenant, so this need not lead with tenant.
            models.UniqueConstraint(fields=["digest"], name="invitation_digest_key"),
            models.UniqueConstraint(
                fields=["tenant", "email"],
                condition=models.Q(accepted_at=None, revoked_at=None),
                name="invitation_one_open_per_address",
            ),
            owned_key("invitation"),
        ]
        ordering = ("email",)

    def __str__(self) -> str:
        return f"{self.email} {self.role}"


class ApiKey(TenantOwned):
    """A key of an integrator. Only the SHA-256 of the secret is kept: 256 random bits need no slow hash."""

    class Scope(models.TextChoices):
        READ = "read"
        WRITE = "write"
        ADMIN = "admin"

    class Status(models.TextChoices):
        ACTIVE = "active"
        EXPIRED = "expired"
        REVOKED = "revoked"

    name = models.CharField(max_length=80)
    hint = models.CharField(max_length=24, help_text="Start and end of the key, to recognise it by.")
    digest = models.BinaryField(max_length=32)
    livemode = models.BooleanField(default=True)
    scopes = ArrayField(models.CharField(max_length=16, choices=Scope), default=list)
    created_by = models.ForeignKey(User, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    replaces = tenant_relation(
        "tenants.ApiKey", null=True, blank=True, on_delete=models.SET_NULL, related_name="+", db_index=False
    )

    class Meta:
        constraints = [
            # A digest of 256 random bits reveals nothing about another tenant, so this need not lead with tenant.
            models.UniqueConstraint(fields=["digest"], name="apikey_digest_key"),
            owned_key("apikey"),
            SameTenant(
                field="replaces", to="tenants.ApiKey", name="apikey_replaces_own", on_delete="SET NULL"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.hint})"

    @property
    def status(self) -> Status:
        if self.revoked_at is not None:
            return self.Status.REVOKED
        expired = self.expires_at is not None and self.expires_at <= timezone.now()
        return self.Status.EXPIRED if expired else self.Status.ACTIVE


class AuditEvent(TenantOwned):
    """Who did what to which object. Append-only: the app login may insert and read, nothing else."""

    append_only = True

    at = models.DateTimeField(db_default=Now())
    actor = models.CharField(
        max_length=LONGEST_ACTOR, help_text="user:<e-mail>, staff:<e-mail>, key:<hint> or system:<name>"
    )
    verb = models.CharField(max_length=64)
    subject_type = models.CharField(max_length=64)
    subject_id = models.CharField(max_length=64)
    detail = models.JSONField(default=dict)
    request_id = models.CharField(max_length=64, blank=True)
    ip = models.GenericIPAddressField(null=True)

    class Meta:
        indexes = [
            models.Index(fields=["tenant", "-id"], name="auditevent_newest"),
            models.Index(fields=["tenant", "subject_id", "-id"], name="auditevent_by_subject"),
            models.Index(
                fields=["tenant", "actor", "-id"],
                opclasses=["uuid_ops", "varchar_pattern_ops", "uuid_ops"],
                name="auditevent_by_actor",
            ),
            models.Index(
                fields=["tenant", "verb", "-id"],
                opclasses=["uuid_ops", "varchar_pattern_ops", "uuid_ops"],
                condition=~models.Q(verb="run.accepted"),  # most of the trail: the newest are soon found
                name="auditevent_by_verb",
            ),
        ]
        ordering = ("-id",)

    def __str__(self) -> str:
        return f"{self.actor} {self.verb} {self.subject_type}"


class TenantExport(TenantOwned):
    """Everything that a tenant holds, as one file in the storage, until it expires."""

    class Status(models.TextChoices):
        WAITING = "waiting"
        PREPARING = "preparing"
        READY = "ready"
        FAILED = "failed"
        EXPIRED = "expired"

    status = models.CharField(max_length=16, choices=Status, default=Status.WAITING)
    done = models.PositiveBigIntegerField(default=0, help_text="rows written so far")
    total = models.PositiveBigIntegerField(default=0, help_text="rows that there were at the start")
    stored_as = models.CharField(max_length=200, blank=True)
    size = models.BigIntegerField(default=0, help_text="bytes")
    error = models.CharField(max_length=300, blank=True)
    created_by = models.CharField(max_length=LONGEST_ACTOR)
    created_at = models.DateTimeField(db_default=Now())
    # Who prepares it says so again and again; one that falls silent is replaced.
    seen_at = models.DateTimeField(null=True)
    worker = models.UUIDField(null=True)
    finished_at = models.DateTimeField(null=True)
    expires_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["tenant"],
                condition=models.Q(status__in=["waiting", "preparing"]),
                name="tenantexport_one_at_a_time",
            ),
        ]
        ordering = ("-created_at",)

    def __str__(self) -> str:
        return f"export {self.status}"


class ClosedTenant(models.Model):
    """That there was a tenant and is none any more. Names nobody: the ledger's totals go by its random id."""

    isolation = "system"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    erasing = models.UUIDField(
        null=True, unique=True, help_text="the tenant's id while it is being erased; nothing afterwards"
    )
    plan = models.CharField(max_length=32)
    closed_by = models.CharField(max_length=LONGEST_ACTOR, help_text="owner, or staff:<e-mail>")
    reason = models.CharField(max_length=200, blank=True, help_text="what staff gave as the reason")
    counts = models.JSONField(default=dict, help_text="table -> rows erased")
    closed_at = models.DateTimeField(db_default=Now())
    erased_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("-closed_at",)

    def __str__(self) -> str:
        return f"closed tenant …{str(self.pk)[-8:]}"
