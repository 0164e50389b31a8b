"""The page of one record: what came in, what came out, and each step on one time axis."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.http import HttpResponse
from django.utils import timezone

from tenants.scope import tenant_scope
from tenants.web import figures
from tenants.web.access import TenantRequest, tenant_page
from workflows import contacts, field_text, queries
from workflows.queries import StepView
from workflows.web import describe
from workflows.web.failed import can_be_retried
from workflows.web.frame import render_live, render_page, version_of
from workflows.web.run_view import RecordRow

_FILLS = {"hit": "green", "cached": "accent", "miss": "grey", "invalid": "amber", "skipped": "grey"}
_NAMED = {**field_text.LABELS, contacts.SALES_NAVIGATOR_FIELD: "Sales Navigator link"}


@dataclass(frozen=True, slots=True)
class StepRow:
    """A step with its place on the axis: a hatched part for the wait, a solid one for the call. All in per cent."""

    step: StepView
    wait_x: str
    wait_width: str
    call_x: str
    call_width: str
    waited: float | None
    took: float | None

    @property
    def title(self) -> str:
        return describe.vendor_title(self.step.provider)

    @property
    def does(self) -> str:
        return describe.operation_word(self.step.operation)

    @property
    def fill(self) -> str:
        if self.step.status == "running":
            return "blue"
        return _FILLS.get(self.step.outcome or "", "red")

    @property
    def shown_status(self) -> str:
        return self.step.outcome if self.step.status == "done" and self.step.outcome else self.step.status

    @property
    def answer(self) -> str:
        return (self.step.answer or {}).get("email") or ""

    @property
    def answer_status(self) -> str:
        return (self.step.answer or {}).get("email_status") or ""

    @property
    def wait_words(self) -> str:
        if self.step.wait_reason:
            return f"waiting for {describe.wait_words(self.step.wait_reason, self.step.provider)}"
        return ""


@tenant_page("runs.read")
def record_page(request: TenantRequest, run_id: uuid.UUID, record_id: uuid.UUID) -> HttpResponse:
    """The page of a record, or its live part alone where the page asks for it again."""
    with tenant_scope(request.membership.tenant_id):
        run = queries.get_run(run_id)
        record = queries.get_record(run_id, record_id)
        steps = queries.record_steps(record)
        around = queries.records(run_id).filter(position__in=(record.position - 1, record.position + 1))
        nearby = dict(around.values_list("position", "id"))
    rows, length = on_axis(steps, timezone.now())
    context: dict[str, Any] = {
        "run": run,
        "row": RecordRow(record),
        "record": record,
        "verified_by": _vendor((record.output or {}).get("verified_by")),
        "given": _given(record.input),
        "steps": rows,
        "axis": figures.axis(length) if length else [],
        "length": length,
        "previous": nearby.get(record.position - 1),
        "next": nearby.get(record.position + 1),
        "may_retry": can_be_retried(record, run),
        "version": version_of(record.status, steps),
    }
    if request.htmx:
        final = record.finished_at is not None
        return render_live(request, "workflows/_record.html", final=final, **context)
    return render_page(request, "workflows/record.html", nav="runs", **context)


def _vendor(provider: str | None) -> str:
    return describe.vendor_title(provider) if provider else ""


def on_axis(steps: Sequence[StepView], now: datetime) -> tuple[list[StepRow], float]:
    """The steps on one axis from the first moment to the last, and its length in seconds."""
    moments = [m for s in steps for m in (s.ready_at, s.started_at, s.finished_at) if m]
    open_ended = any(step.finished_at is None for step in steps)
    if not moments:
        return [_placed(step, now, now, 0.0) for step in steps], 0.0
    begin, end = min(moments), max([*moments, now] if open_ended else moments)
    length = (end - begin).total_seconds()
    return [_placed(step, begin, end, length) for step in steps], length


def _placed(step: StepView, begin: datetime, end: datetime, length: float) -> StepRow:
    ready = step.ready_at or step.started_at or step.finished_at or begin
    started = step.started_at or step.finished_at or end
    finished = step.finished_at or end
    called = step.started_at is not None
    waited = max(0.0, (started - ready).total_seconds())
    took = (finished - started).total_seconds() if called else None

    def share(seconds: float) -> float:
        return 100 * seconds / length if length else 0.0

    at = share((ready - begin).total_seconds())
    call_at = share((started - begin).total_seconds())
    call_width = max(0.6, share(took or 0.0))
    return StepRow(
        step,
        f"{at:.2f}%",
        f"{max(0.0, call_at - at):.2f}%",
        f"{min(call_at, 99.4):.2f}%",
        f"{call_width:.2f}%" if called or step.finished_at else "0%",
        waited,
        took,
    )


def _given(values: dict[str, Any]) -> list[tuple[str, str]]:
    """The input, our fields first and in their order, then the columns that came along."""
    known = [
        name
        for name in (*contacts.FIELDS, *contacts.VERIFY_FIELDS, contacts.SALES_NAVIGATOR_FIELD)
        if values.get(name)
    ]
    others = [name for name in values if name not in known and values[name] not in ("", None)]
    return [
        (_NAMED.get(name, name).capitalize() if name in known else name, values[name])
        for name in (*known, *others)
    ]
