"""Lanes: one per connection, with the owner's limits apart from the engine's hot state."""

from typing import Any

from django.db import models
from django.db.models.functions import Now

from tenants.base import SameTenant, TenantOwned, owned_key, tenant_relation
from workflows.states import LaneRunState, RunStatus


class Lane(TenantOwned):
    """A connection's queue and its limits. `windows`: [{"rate", "period" (s), "group"?}, …]."""

    looked_up_in_joins = True

    connection = tenant_relation("integrations.Connection", related_name="+")
    provider = models.CharField(max_length=32)
    key_hint = models.CharField(max_length=8)
    windows = models.JSONField(default=list)
    parallelism = models.PositiveIntegerField(default=10)
    pinned = models.BooleanField(
        default=False, help_text="limits were set by hand and no longer follow the connection"
    )
    bulk = models.BooleanField(
        default=False,
        db_default=False,
        help_text="several questions may be asked in one call, where the vendor has an endpoint for it",
    )
    paused = models.BooleanField(default=False)
    pause_reason = models.CharField(max_length=32, blank=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "lane"
        constraints = [
            models.UniqueConstraint(fields=["tenant", "connection"], name="lane_one_per_connection"),
            owned_key("lane"),
            SameTenant(field="connection", to="integrations.Connection", name="lane_connection_fk"),
        ]
        ordering = ("provider", "id")

    def __str__(self) -> str:
        return f"{self.provider} …{self.key_hint}"

    @property
    def first_window(self) -> dict[str, Any]:
        return self.windows[0] if self.windows else {"rate": None, "period": None}


class LaneState(TenantOwned):
    """What the engine keeps for a lane: the lease, the start history of long windows, the breaker. Hot."""

    looked_up_in_joins = True

    lane = tenant_relation("workflows.Lane", related_name="+")
    holder = models.UUIDField(null=True)
    lease_until = models.DateTimeField(null=True)
    released_at = models.DateTimeField(null=True)
    rung_at = models.DateTimeField(null=True)  # not used any more; earlier releases read it
    # Starts per bucket for windows of a minute or more, {"<period>:<group>": [[bucket end, count], …]} (Unix time).
    starts = models.JSONField(default=dict)
    in_flight = models.PositiveIntegerField(default=0)
    started_last_period = models.PositiveIntegerField(default=0)
    wait_reason = models.CharField(max_length=16, blank=True)
    cooldown_until = models.DateTimeField(null=True)
    pace = models.FloatField(default=1.0)
    breaker = models.CharField(max_length=16, default="closed")
    failures = models.PositiveIntegerField(default=0)
    trips = models.PositiveIntegerField(
        default=0, db_default=0, help_text="rests in a row; 0 while the breaker is closed"
    )
    breaker_until = models.DateTimeField(null=True)
    balance_asked_at = models.DateTimeField(null=True)
    latency_s = models.FloatField(null=True, help_text="seconds that the vendor takes of late")
    seen_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "lane_state"
        constraints = [
            models.UniqueConstraint(fields=["tenant", "lane"], name="lane_state_one_per_lane"),
            SameTenant(field="lane", to="workflows.Lane", name="lane_state_lane_fk"),
        ]

    def __str__(self) -> str:
        return str(self.lane_id)


class LaneRun(TenantOwned):
    """Which runs have work in a lane: pausing a run of 100,000 records changes one row per lane."""

    looked_up_in_joins = True

    # No foreign keys: shared locks on hot rows.
    tenant = models.ForeignKey(
        "tenants.Tenant", models.CASCADE, related_name="+", db_index=False, db_constraint=False
    )
    lane_id = models.UUIDField()
    run_id = models.UUIDField()
    state = models.CharField(max_length=16, choices=LaneRunState, default=LaneRunState.ACTIVE)
    priority = models.PositiveSmallIntegerField(default=5)
    vtime = models.FloatField(default=0)
    since = models.DateTimeField(db_default=Now())
    # Parked at the tenant's monthly limit: when the month ends, and the credits that were asked for (thousandths).
    parked_until = models.DateTimeField(null=True)
    parked_for = models.BigIntegerField(default=0, db_default=0)

    class Meta:
        db_table = "lane_run"
        constraints = [models.UniqueConstraint(fields=["tenant", "lane_id", "run_id"], name="lane_run_once")]
        indexes = [
            models.Index(fields=["run_id"], name="lane_run_by_run"),
            models.Index(
                fields=["parked_until"],
                name="lane_run_parked",
                condition=models.Q(parked_until__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.lane_id} {self.run_id}"


class Lookup(TenantOwned):
    """The same person is asked once of a vendor: the first step leads, the others wait for its answer."""

    looked_up_in_joins = True

    provider = models.CharField(max_length=32)
    livemode = models.BooleanField(default=True)
    fingerprint = models.CharField(max_length=40)
    leader = models.UUIDField(help_text="the queue entry that asks")
    outcome = models.CharField(
        max_length=16, blank=True, help_text="hit or miss; empty while the call is under way"
    )
    answer = models.JSONField(null=True)
    answered_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "lookup"
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "provider", "livemode", "fingerprint"], name="lookup_once"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.provider} {self.fingerprint[:8]}"


LANE_RUN_STATE = {RunStatus.PAUSED: LaneRunState.PAUSED, RunStatus.CANCELLED: LaneRunState.CANCELLED}
