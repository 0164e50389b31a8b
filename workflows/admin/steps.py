"""The queue, the history, and the look-ups that spare a second call."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import DropdownFilter, TextFilter
from unfold.decorators import display

from tenants.ops_console import cells
from tenants.ops_console.base import ReadOnlyAdmin
from tenants.ops_console.filters import TENANT, MadeFilter, as_uuid, choice, id_filter, yes_or_no
from workflows.models import Lookup, Record, Step, StepQueue
from workflows.states import WaitReason


class RecordFilter(TextFilter):
    """The steps of one record, through the index that leads with its tenant."""

    title = "record id"
    parameter_name = "record_id"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if not self.value():
            return queryset
        record = Record.objects.filter(pk=as_uuid(self.value())).values_list("tenant_id", "run_id").first()
        if record is None:
            return queryset.none()
        narrowed = {"run_id": record[1]} if queryset.model is StepQueue else {}
        return queryset.filter(tenant_id=record[0], record_id=as_uuid(self.value()), **narrowed)


class ReasonFilter(DropdownFilter):
    title = "reason"
    parameter_name = "reason"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return list(WaitReason.choices)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(reason=self.value()) if self.value() in WaitReason.values else queryset


class Places:
    """Links from a step to where it belongs, made from ids alone."""

    @display(description="record")
    def record(self, obj: Any) -> SafeString | str:
        return cells.page("workflows.record", obj.record_id)

    @display(description="run")
    def run(self, obj: Any) -> SafeString | str:
        return cells.page("workflows.run", obj.run_id)

    @display(description="lane")
    def lane(self, obj: Any) -> SafeString | str:
        return cells.page("workflows.lane", obj.lane_id)


@admin.register(Step)
class StepAdmin(Places, ReadOnlyAdmin):
    list_display = (
        "title", "tenant_link", "status_pill", "outcome_pill", "attempt", "http_status", "latency_ms", "credit",
        "record", "run", "lane", "finished",
    )  # fmt: skip
    list_filter = (
        RecordFilter, TENANT, choice("status"), choice("outcome"), id_filter("lane_id", "lane id"),
        id_filter("run_id", "run id"), MadeFilter,
    )  # fmt: skip
    fields = (
        "name", "tenant_link", "record", "run", "lane", "provider", "operation", "attempt", "status_pill",
        "outcome_pill", "reason", "answer", "http_status", "latency_ms", "credit", "ready_at", "started_at",
        "finished_at", "id", "queue_id",
    )  # fmt: skip
    readonly_fields = ("tenant_link", "record", "run", "lane", "status_pill", "outcome_pill", "credit", "id")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Step]:
        queryset: QuerySet[Step] = super().get_queryset(request)
        if getattr(request.resolver_match, "url_name", "") == "workflows_step_changelist":
            queryset = queryset.defer("answer")
        return queryset

    @display(description="step")
    def title(self, obj: Step) -> SafeString | str:
        return cells.page("workflows.step", obj.pk, obj.name)

    @display(description="outcome")
    def outcome_pill(self, obj: Step) -> SafeString | str:
        return cells.pill(obj.outcome, obj.get_outcome_display())

    @display(description="credits")
    def credit(self, obj: Step) -> str:
        return cells.credit(obj.credits)

    @display(description="finished")
    def finished(self, obj: Step) -> SafeString | str:
        return cells.when(obj.finished_at)


@admin.register(StepQueue)
class StepQueueAdmin(Places, ReadOnlyAdmin):
    list_display = (
        "title", "tenant_link", "state", "attempt", "crashes", "record", "run", "lane", "ready", "not_before_in",
        "sent", "deadline",
    )  # fmt: skip
    list_filter = (
        id_filter("lane_id", "lane id"), id_filter("run_id", "run id"), RecordFilter, TENANT, ReasonFilter, MadeFilter,
    )  # fmt: skip
    fields = (
        "name", "tenant_link", "record", "run", "lane", "state", "query", "context", "attempt", "crashes", "ready_at",
        "not_before", "sent_at", "deadline_at", "holder", "reserved_credit", "id",
    )  # fmt: skip
    readonly_fields = ("tenant_link", "record", "run", "lane", "state", "reserved_credit", "id")

    def get_queryset(self, request: HttpRequest) -> QuerySet[StepQueue]:
        queryset: QuerySet[StepQueue] = super().get_queryset(request)
        if getattr(request.resolver_match, "url_name", "") == "workflows_stepqueue_changelist":
            queryset = queryset.defer("query", "context")
        return queryset

    @display(description="step")
    def title(self, obj: StepQueue) -> SafeString | str:
        return cells.page("workflows.stepqueue", obj.pk, obj.name)

    @display(description="state")
    def state(self, obj: StepQueue) -> SafeString | str:
        if obj.sent_at:
            return cells.pill("in flight")
        return cells.pill("waiting", f"waiting: {obj.reason}" if obj.reason else "waiting")

    @display(description="ready since")
    def ready(self, obj: StepQueue) -> SafeString | str:
        return cells.when(obj.ready_at)

    @display(description="not before")
    def not_before_in(self, obj: StepQueue) -> SafeString | str:
        return cells.when(obj.not_before)

    @display(description="sent")
    def sent(self, obj: StepQueue) -> SafeString | str:
        return cells.when(obj.sent_at)

    @display(description="deadline")
    def deadline(self, obj: StepQueue) -> SafeString | str:
        return cells.when(obj.deadline_at)

    @display(description="reserved credits")
    def reserved_credit(self, obj: StepQueue) -> str:
        return cells.credit(obj.reserved)


@admin.register(Lookup)
class LookupAdmin(ReadOnlyAdmin):
    list_display = ("title", "tenant_link", "provider", "livemode", "state", "answered", "created")
    list_filter = (TENANT, yes_or_no("livemode"), MadeFilter)
    fields = (
        "tenant_link",
        "provider",
        "livemode",
        "state",
        "answer",
        "answered_at",
        "created_at",
        "leader",
        "id",
    )
    readonly_fields = ("tenant_link", "state", "id")

    @display(description="look-up")
    def title(self, obj: Lookup) -> SafeString | str:
        return cells.page("workflows.lookup", obj.pk)

    @display(description="state")
    def state(self, obj: Lookup) -> SafeString | str:
        return cells.pill(obj.outcome or "waiting", obj.outcome or "under way")

    @display(description="answered")
    def answered(self, obj: Lookup) -> SafeString | str:
        return cells.when(obj.answered_at)
