"""Runs, their records and events."""

from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import display

from tenants.ops_console import cells
from tenants.ops_console.actions import OpsAction
from tenants.ops_console.base import ReadOnlyAdmin, ReadOnlyInline
from tenants.ops_console.filters import TENANT, MadeFilter, choice, id_filter, yes_or_no
from workflows.models import Record, Run, RunEvent, RunVendor, Step, StepQueue
from workflows.operations import control_run
from workflows.operations.failed_records import discard_record
from workflows.operations.retry import RETRYABLE, retry_record, retry_run
from workflows.states import FINAL_RUN, RECORD_COUNTS, RecordStatus, RunStatus

CANCEL = OpsAction(
    name="cancel",
    label="Cancel run",
    done="run(s) cancelled",
    warning="What waits is cancelled, calls in flight are finished and kept. This cannot be undone.",
    run=lambda run, actor: control_run.cancel_run(run_id=run.pk, actor=actor),
    applies=lambda run: run.status not in FINAL_RUN,
    icon="cancel",
    danger=True,
)
PAUSE = OpsAction(
    name="pause",
    label="Pause run",
    done="run(s) paused",
    warning="No more calls are started; those in flight are finished. The run waits until somebody resumes it.",
    run=lambda run, actor: control_run.pause_run(run_id=run.pk, actor=actor),
    applies=lambda run: run.status in (RunStatus.QUEUED, RunStatus.RUNNING),
    icon="pause",
)
RESUME = OpsAction(
    name="resume",
    label="Resume run",
    done="run(s) resumed",
    warning="Calls are started again, and cost the tenant credits.",
    run=lambda run, actor: control_run.resume_run(run_id=run.pk, actor=actor),
    applies=lambda run: run.status == RunStatus.PAUSED,
)


RETRY_RUN = OpsAction(
    name="retry",
    label="Retry failed records",
    done="run(s) retried",
    warning="Failed records are asked for again where they failed; new calls cost the tenant credits.",
    run=lambda run, actor: retry_run(tenant_id=run.tenant_id, run_id=run.pk, actor=actor),
    applies=lambda run: run.failed > 0 and run.status not in (RunStatus.CANCELLED, RunStatus.FAILED),
    icon="refresh",
)
RETRY = OpsAction(
    name="retry",
    label="Retry record",
    done="record(s) asked for again",
    warning="Each goes on where it failed; new calls cost the tenant credits.",
    run=lambda record, actor: retry_record(run_id=record.run_id, record_id=record.pk, actor=actor),
    applies=lambda record: record.status in RETRYABLE,
    icon="refresh",
)
DISCARD = OpsAction(
    name="discard",
    label="Discard record",
    done="record(s) put aside",
    warning="They count as skipped, and a retry of the run leaves them.",
    run=lambda record, actor: discard_record(run_id=record.run_id, record_id=record.pk, actor=actor),
    applies=lambda record: record.status == RecordStatus.FAILED,
    icon="skip_next",
)


class RunVendorInline(ReadOnlyInline):
    model = RunVendor
    fields = ("provider", "operation", "calls", "hits", "misses", "cached", "errors", "accepted", "credit")
    readonly_fields = ("credit",)
    verbose_name_plural = "vendors"

    @display(description="credits")
    def credit(self, obj: RunVendor) -> str:
        return cells.credit(obj.credits)


@admin.register(Run)
class RunAdmin(ReadOnlyAdmin):
    list_display = (
        "title", "tenant_link", "status_pill", "first_lists", "progress", "found", "failed", "spent", "created", "mode",
        "workflow_link",
    )  # fmt: skip
    list_filter = (
        choice("status"), TENANT, yes_or_no("livemode"), choice("source"), id_filter("workflow_id", "workflow id"),
        id_filter("upload_id", "upload id"), MadeFilter,
    )  # fmt: skip
    list_select_related = ("tenant", "workflow")
    actions: ClassVar[list[Any]] = [PAUSE.in_bulk(), RESUME.in_bulk(), RETRY_RUN.in_bulk(), CANCEL.in_bulk()]
    page_actions = (PAUSE, RESUME, RETRY_RUN, CANCEL)
    actions_detail = ("pause", "resume", "retry", "cancel")
    pause, resume, cancel = PAUSE.on_page(), RESUME.on_page(), CANCEL.on_page()
    retry = RETRY_RUN.on_page()
    inlines = (RunVendorInline,)
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("title", "status_pill"), ("tenant_link", "workflow_link"), ("progress", "counts"), "error", "lists",
                )
            },
        ),
        ("Credits", {"fields": (("estimated", "reserved"), ("spent", "limit"))}),
        (
            "How it came in",
            {
                "fields": (
                    ("source", "created_by"), ("livemode", "priority"), ("upload_link", "callback"),
                    ("mapping", "metadata"), ("created_at", "id"), ("started_at", "finished_at"),
                )
            },
        ),
        ("Configuration when it was accepted", {"fields": (("template", "lane_links"), "config")}),
    )  # fmt: skip
    readonly_fields = (
        "title", "tenant_link", "workflow_link", "status_pill", "progress", "counts", "lists", "estimated", "reserved",
        "spent", "limit", "upload_link", "callback", "lane_links", "id",
    )  # fmt: skip

    @display(description="run")
    def title(self, obj: Run) -> SafeString | str:
        return cells.page("workflows.run", obj.pk, obj.name or cells.short(obj.pk))

    @display(description="workflow")
    def workflow_link(self, obj: Run) -> SafeString | str:
        return cells.row(obj.workflow)

    @display(description="progress")
    def progress(self, obj: Run) -> SafeString:
        return cells.nowrap(f"{obj.finished_records:,} of {obj.total:,}")

    @display(description="mode")
    def mode(self, obj: Run) -> str:
        return "live" if obj.livemode else "test"

    @display(description="records")
    def counts(self, obj: Run) -> SafeString | str:
        links = [
            cells.rows(
                "workflows.record",
                f"{getattr(obj, name):,} {name.replace('_', ' ')}",
                run_id=obj.pk,
                status__exact=name,
            )
            for name in RECORD_COUNTS
            if getattr(obj, name)
        ]
        return cells.inline(links) if links else cells.NOTHING  # type: ignore[arg-type]

    @display(description="estimated")
    def estimated(self, obj: Run) -> str:
        return cells.credit(obj.credits_estimated)

    @display(description="reserved")
    def reserved(self, obj: Run) -> str:
        return cells.credit(obj.credits_reserved)

    @display(description="spent")
    def spent(self, obj: Run) -> str:
        return cells.credit(obj.credits_spent)

    @display(description="limit")
    def limit(self, obj: Run) -> str:
        return cells.credit(obj.credit_limit)

    @display(description="upload")
    def upload_link(self, obj: Run) -> SafeString | str:
        return cells.page("workflows.upload", obj.upload_id)

    @display(description="callback")
    def callback(self, obj: Run) -> str:
        return cells.address(obj.callback_url)

    @display(description="lanes")
    def lane_links(self, obj: Run) -> SafeString | str:
        return cells.inline(
            [cells.page("workflows.lane", key, provider) for provider, key in obj.lanes.items()]
        )


@admin.register(Record)
class RecordAdmin(ReadOnlyAdmin):
    """Records; what they hold of a person is on their page alone, whose opening is in the tenant's trail."""

    list_display = (
        "title",
        "run_link",
        "tenant_link",
        "status_pill",
        "problem",
        "credit",
        "started",
        "finished",
        "steps_link",
    )
    list_filter = (id_filter("run_id", "run id"), TENANT, choice("status"), MadeFilter)
    list_select_related = ("tenant", "run")
    actions: ClassVar[list[Any]] = [RETRY.in_bulk(), DISCARD.in_bulk()]
    page_actions = (RETRY, DISCARD)
    actions_detail = ("retry", "discard")
    retry, discard = RETRY.on_page(), DISCARD.on_page()
    change_form_outer_after_template = "admin/ops/record_steps.html"
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("title", "status_pill"), ("run_link", "tenant_link"), ("credit", "line"), ("created_at", "id"),
                    ("started_at", "finished_at"),
                )
            },
        ),
        ("What was brought and what came of it", {"fields": ("input", "output", "error")}),
    )  # fmt: skip
    readonly_fields = ("title", "run_link", "tenant_link", "status_pill", "problem", "credit", "id")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Record]:
        queryset: QuerySet[Record] = super().get_queryset(request)
        if getattr(request.resolver_match, "url_name", "") == "workflows_record_changelist":
            queryset = queryset.defer("input", "output")
        return queryset

    @display(description="record")
    def title(self, obj: Record) -> SafeString | str:
        return cells.page("workflows.record", obj.pk, f"#{obj.position}")

    @display(description="run")
    def run_link(self, obj: Record) -> SafeString | str:
        return cells.page("workflows.run", obj.run_id, obj.run.name or cells.short(obj.run_id))

    @display(description="error")
    def problem(self, obj: Record) -> SafeString | str:
        return format_html("<code>{}</code>", obj.error.get("code", "")) if obj.error else cells.NOTHING

    @display(description="credits")
    def credit(self, obj: Record) -> str:
        return cells.credit(obj.credits)

    @display(description="started")
    def started(self, obj: Record) -> SafeString | str:
        return cells.when(obj.started_at)

    @display(description="finished")
    def finished(self, obj: Record) -> SafeString | str:
        return cells.when(obj.finished_at)

    @display(description="lists")
    def steps_link(self, obj: Record) -> SafeString:
        return cells.rows("workflows.step", "Steps", record_id=obj.pk)

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Adds what happened, and what waits or is in flight, in the order of time."""
        record: Record = context["original"]
        history = Step.objects.filter(tenant_id=record.tenant_id, record_id=record.pk).order_by("id")
        queued = StepQueue.objects.filter(run_id=record.run_id, record_id=record.pk).order_by("id")
        context |= {"history": history[:200], "queued": queued[:50]}
        response: HttpResponse = super().render_change_form(request, context, *args, **kwargs)
        return response


@admin.register(RunEvent)
class RunEventAdmin(ReadOnlyAdmin):
    list_display = ("happened", "run_link", "record", "tenant_link", "kind", "actor")
    list_filter = (id_filter("run_id", "run id"), TENANT, MadeFilter)
    list_select_related = ("tenant", "run")
    fields = ("at", "run_link", "record", "tenant_link", "kind", "detail", "actor", "id")
    readonly_fields = ("run_link", "record", "tenant_link", "id")

    @display(description="when")
    def happened(self, obj: RunEvent) -> SafeString | str:
        return cells.page("workflows.runevent", obj.pk, cells.when(obj.at))

    @display(description="run")
    def run_link(self, obj: RunEvent) -> SafeString | str:
        return cells.page("workflows.run", obj.run_id, obj.run.name or cells.short(obj.run_id))

    @display(description="record")
    def record(self, obj: RunEvent) -> SafeString | str:
        return cells.page("workflows.record", obj.record_id)
