"""What a tenant may do: its plan, and what was agreed with it beside that."""

from django.db import models
from django.db.models.functions import Now

from tenants.base import LONGEST_ACTOR, TenantOwned

NO_LIMIT = "Empty: no limit."


class Plan(models.Model):
    """What a tenant may do, and what it costs. Reference data, edited by operators; a tenant names its plan by slug."""

    isolation = "reference"

    slug = models.SlugField(primary_key=True, max_length=32)
    name = models.CharField(max_length=80)
    requests_per_second = models.PositiveIntegerField(
        default=100, db_default=100, help_text="API requests in any second, per key"
    )
    requests_per_minute = models.PositiveIntegerField(help_text="API requests in any minute, per tenant")
    monthly_records = models.PositiveIntegerField(help_text="Records included per calendar month (UTC)")
    overage_allowed = models.BooleanField(
        default=False, help_text="Records over the quota are accepted and billed"
    )
    lanes = models.PositiveIntegerField(null=True, blank=True, help_text=f"Live connections. {NO_LIMIT}")
    seats = models.PositiveIntegerField(
        null=True, blank=True, help_text=f"Members and open invitations together. {NO_LIMIT}"
    )
    # In the currency of the Stripe prices, which are what is charged; these are what our pages say.
    price = models.DecimalField(
        max_digits=10, decimal_places=2, default=0, db_default=0, help_text="Per month, as the pages say it"
    )
    overage_price = models.DecimalField(
        max_digits=10, decimal_places=6, default=0, db_default=0, help_text="Per record over the quota"
    )
    currency = models.CharField(max_length=3, default="USD", db_default="USD")
    stripe_price_id = models.CharField(
        max_length=120, blank=True, default="", db_default="", help_text="Stripe's price of the plan"
    )
    stripe_overage_price_id = models.CharField(
        max_length=120, blank=True, default="", db_default="", help_text="Stripe's metered price of a record"
    )
    position = models.PositiveSmallIntegerField(default=0)

    class Meta:
        ordering = ("position",)

    def __str__(self) -> str:
        return self.name


class PlanOverride(TenantOwned):
    """What was agreed with one tenant beside its plan, until a day. Empty: as in the plan."""

    requests_per_second = models.PositiveIntegerField(null=True, blank=True)
    requests_per_minute = models.PositiveIntegerField(null=True, blank=True)
    monthly_records = models.PositiveIntegerField(null=True, blank=True)
    overage_allowed = models.BooleanField(null=True, blank=True)
    lanes = models.PositiveIntegerField(null=True, blank=True)
    seats = models.PositiveIntegerField(null=True, blank=True)
    reason = models.CharField(max_length=200)
    expires_at = models.DateTimeField(help_text="The plan's own limits count again from then on.")
    created_by = models.CharField(max_length=LONGEST_ACTOR)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant"], name="planoverride_one_per_tenant")]

    def __str__(self) -> str:
        return self.reason
