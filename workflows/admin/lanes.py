"""Lanes with what the engine knows of them, and the runs that have work in them."""

from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import IntegerField, OuterRef, QuerySet, Subquery
from django.db.models.functions import JSONObject
from django.http import HttpRequest
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.safestring import SafeString
from unfold.decorators import display

from tenants.ops_console import cells
from tenants.ops_console.actions import OpsAction
from tenants.ops_console.base import ReadOnlyAdmin
from tenants.ops_console.filters import TENANT, MadeFilter, choice, id_filter, yes_or_no
from workflows.models import Lane, LaneRun, LaneState, StepQueue
from workflows.operations import control_lane

COUNT_UP_TO = 1_000

PAUSE = OpsAction(
    name="pause",
    label="Pause lane",
    done="lane(s) paused",
    warning="No more calls are started in it; those in flight are finished. Its work waits until somebody resumes it.",
    run=lambda lane, actor: control_lane.pause_lane(lane_id=lane.pk, actor=actor, reason="staff"),
    applies=lambda lane: not lane.paused,
    icon="pause",
)
RESUME = OpsAction(
    name="resume",
    label="Resume lane",
    done="lane(s) resumed",
    warning="Calls are started again with the tenant's key, also where the vendor had refused it.",
    run=lambda lane, actor: control_lane.resume_lane(lane_id=lane.pk, actor=actor),
    applies=lambda lane: lane.paused,
)


class CountUpTo(Subquery):
    """How many rows a sliced subquery has: counting stops at the slice."""

    template = "(SELECT count(*) FROM (%(subquery)s) counted)"
    output_field = IntegerField()


@admin.register(Lane)
class LaneAdmin(ReadOnlyAdmin):
    list_display = (
        "title", "tenant_link", "state_pill", "lists", "queued", "in_flight", "wait_reason", "breaker", "limits_short",
        "held",
    )  # fmt: skip
    list_filter = (
        yes_or_no("paused"),
        yes_or_no("pinned"),
        TENANT,
        id_filter("connection_id", "connection id"),
        MadeFilter,
    )
    id_search = ("id", "connection_id")
    search_fields = ("id", "provider__startswith")
    search_help_text = "A provider, or the id of a lane or connection"
    actions: ClassVar[list[Any]] = [PAUSE.in_bulk(), RESUME.in_bulk()]
    page_actions = (PAUSE, RESUME)
    actions_detail = ("pause", "resume")
    pause, resume = PAUSE.on_page(), RESUME.on_page()
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("title", "state_pill"), ("tenant_link", "connection_link"), ("limits", "pinned"), ("bulk", "lists"),
                )
            },
        ),
        (
            "What the engine knows",
            {
                "fields": (
                    ("queued", "in_flight"), ("wait_reason", "started"), ("breaker", "failures"), ("cooldown", "pace"),
                    ("holder", "seen"),
                )
            },
        ),
        ("Origin", {"fields": (("created_at", "id"),)}),
    )  # fmt: skip
    readonly_fields = (
        "title", "tenant_link", "connection_link", "state_pill", "limits", "lists", "queued", "in_flight", "started",
        "wait_reason", "breaker", "failures", "cooldown", "pace", "holder", "seen", "id",
    )  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> QuerySet[Lane]:
        state = LaneState.objects.filter(tenant_id=OuterRef("tenant_id"), lane_id=OuterRef("pk")).values(
            facts=JSONObject(
                in_flight="in_flight",
                started="started_last_period",
                wait_reason="wait_reason",
                breaker="breaker",
                failures="failures",
                pace="pace",
                cooldown="cooldown_until",
                holder="holder",
                lease="lease_until",
                seen="seen_at",
            )
        )
        # In the order of the index: the planner would read the whole table for a lane that has little in it.
        ready = StepQueue.objects.filter(lane_id=OuterRef("pk"), not_before=None, sent_at=None).order_by(
            "run_id", "id"
        )
        queryset: QuerySet[Lane] = super().get_queryset(request)
        return queryset.select_related("tenant", "connection").annotate(
            facts=Subquery(state[:1]), ready=CountUpTo(ready.values("pk")[:COUNT_UP_TO])
        )

    def _fact(self, obj: Any, name: str) -> Any:
        return (obj.facts or {}).get(name)

    def _time(self, obj: Any, name: str) -> SafeString | str:
        value = self._fact(obj, name)
        return cells.when(parse_datetime(value)) if value else cells.NOTHING

    @display(description="lane")
    def title(self, obj: Lane) -> SafeString | str:
        return cells.row(obj)

    @display(description="connection")
    def connection_link(self, obj: Lane) -> SafeString | str:
        return cells.row(obj.connection)

    @display(description="state")
    def state_pill(self, obj: Lane) -> SafeString | str:
        if not obj.paused:
            return cells.pill("active")
        return cells.pill(
            "paused", f"paused: {obj.pause_reason}".replace("_", " ") if obj.pause_reason else "paused"
        )

    @display(description="limits")
    def limits(self, obj: Lane) -> str:
        return cells.limits(obj.windows, obj.parallelism) + (" (pinned)" if obj.pinned else "")

    @display(description="limits")
    def limits_short(self, obj: Lane) -> SafeString:
        return cells.nowrap(self.limits(obj))

    @display(description="held by")
    def held(self, obj: Any) -> SafeString | str:
        """The runner that drains it, and when it last said so."""
        if not self._fact(obj, "holder"):
            return cells.NOTHING
        return cells.inline([self.holder(obj), self.seen(obj)])

    @display(description="ready")
    def queued(self, obj: Any) -> str:
        return f"{obj.ready:,}" + ("+" if obj.ready >= COUNT_UP_TO else "")

    @display(description="in flight")
    def in_flight(self, obj: Any) -> object:
        return self._fact(obj, "in_flight") or 0

    @display(description="started last period")
    def started(self, obj: Any) -> object:
        return self._fact(obj, "started") or 0

    @display(description="waits for")
    def wait_reason(self, obj: Any) -> str:
        return self._fact(obj, "wait_reason") or cells.NOTHING

    @display(description="breaker")
    def breaker(self, obj: Any) -> SafeString | str:
        return cells.pill(self._fact(obj, "breaker") or "")

    @display(description="failures in a row")
    def failures(self, obj: Any) -> object:
        return self._fact(obj, "failures") or 0

    @display(description="pace")
    def pace(self, obj: Any) -> str:
        return f"{(self._fact(obj, 'pace') or 1.0) * 100:.0f} %"

    @display(description="cooldown")
    def cooldown(self, obj: Any) -> SafeString | str:
        value = self._fact(obj, "cooldown")
        until = parse_datetime(value) if value else None
        return cells.when(until) if until and until > timezone.now() else cells.NOTHING

    @display(description="holder")
    def holder(self, obj: Any) -> str:
        return cells.short(self._fact(obj, "holder"))

    @display(description="seen")
    def seen(self, obj: Any) -> SafeString | str:
        return self._time(obj, "seen")


@admin.register(LaneRun)
class LaneRunAdmin(ReadOnlyAdmin):
    list_display = (
        "short_id",
        "lane",
        "run",
        "tenant_link",
        "state_pill",
        "priority",
        "vtime",
        "waiting_since",
    )
    list_filter = (id_filter("lane_id", "lane id"), id_filter("run_id", "run id"), TENANT, choice("state"))
    id_search = ("id", "lane_id", "run_id")
    search_help_text = "The id of a lane or run"
    fields = ("lane", "run", "tenant_link", "state_pill", "priority", "vtime", "since", "id")
    readonly_fields = ("lane", "run", "tenant_link", "state_pill", "id")

    @display(description="lane")
    def lane(self, obj: LaneRun) -> SafeString | str:
        return cells.page("workflows.lane", obj.lane_id)

    @display(description="run")
    def run(self, obj: LaneRun) -> SafeString | str:
        return cells.page("workflows.run", obj.run_id)

    @display(description="state")
    def state_pill(self, obj: LaneRun) -> SafeString | str:
        return cells.pill(obj.state)

    @display(description="since")
    def waiting_since(self, obj: LaneRun) -> SafeString | str:
        return cells.when(obj.since)
