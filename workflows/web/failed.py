"""What failed, over all runs, and what can be done about it: ask again, with other input, or put it aside."""

import uuid
from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_POST

from tenants.errors import Conflict, InvalidInput
from tenants.scope import tenant_scope
from tenants.web import figures
from tenants.web.access import TenantRequest, actor, tenant_page
from workflows import queries
from workflows.catalog import TEMPLATES
from workflows.field_text import LABELS
from workflows.operations.failed_records import FailedFilter, discard_failed, discard_record
from workflows.operations.retry import RETRYABLE, retry_record, retry_run
from workflows.web.frame import render_page
from workflows.web.paging import page_of, row_id
from workflows.web.run_row import RunRow
from workflows.web.run_view import RecordRow

RUNS_A_PAGE = 20


@tenant_page("runs.read")
def failed_list(request: TenantRequest) -> HttpResponse:
    """Runs that have failed records, the newest first, each with its errors and how many records each hit."""
    with tenant_scope(request.membership.tenant_id):
        page = page_of(
            queries.runs().filter(failed__gt=0),
            request.GET,
            key="id",
            ascending=False,
            parse=row_id,
            size=RUNS_A_PAGE,
        )
        groups = queries.failed_groups([run.pk for run in page.items])
    page.items[:] = [(RunRow(run, None), groups.get(run.pk, [])) for run in page.items]
    return render_page(request, "workflows/failed.html", nav="runs", page=page)


@require_POST
@tenant_page("runs.change")
def retry_all(request: TenantRequest, run_id: uuid.UUID) -> HttpResponse:
    """Ask again for the run's failed records, or for those with one error."""
    return _carry_out(
        request,
        run_id,
        retry_run,
        "asked for again",
        "Nothing was left to ask again. A faulty row is changed on its own page.",
    )


@require_POST
@tenant_page("runs.change")
def discard_all(request: TenantRequest, run_id: uuid.UUID) -> HttpResponse:
    """Put the run's failed records aside, or those with one error."""
    return _carry_out(request, run_id, discard_failed, "put aside", "No failed record was left.")


@require_POST
@tenant_page("runs.change")
def retry_one(request: TenantRequest, run_id: uuid.UUID, record_id: uuid.UUID) -> HttpResponse:
    return _one(request, run_id, record_id, retry_record, "The record is asked for again.")


@require_POST
@tenant_page("runs.change")
def discard_one(request: TenantRequest, run_id: uuid.UUID, record_id: uuid.UUID) -> HttpResponse:
    return _one(request, run_id, record_id, discard_record, "Put aside. It counts as skipped.")


@tenant_page("runs.change")
def edit(request: TenantRequest, run_id: uuid.UUID, record_id: uuid.UUID) -> HttpResponse:
    """Change a record's input, then ask again: from where it failed, or from the start."""
    with tenant_scope(request.membership.tenant_id):
        run = queries.get_run(run_id)
        record = queries.get_record(run_id, record_id)
    names = TEMPLATES[run.template].fields
    given = {name: request.POST.get(name, record.input.get(name, "")) for name in names}
    errors: dict[str, str] = {}
    if request.method == "POST":
        try:
            with tenant_scope(request.membership.tenant_id):
                retry_record(
                    run_id=run_id,
                    record_id=record_id,
                    actor=actor(request),
                    restart=request.POST.get("mode") == "restart",
                    changes={name: value or None for name, value in given.items()},
                )
        except InvalidInput as error:
            errors = {fault["field"].removeprefix("input."): fault["message"] for fault in error.errors or []}
        except Conflict as error:
            messages.error(request, error.detail)
            return redirect("record", run_id=run_id, record_id=record_id)
        else:
            messages.success(request, "The record is asked for again.")
            return redirect("record", run_id=run_id, record_id=record_id)
    fields: list[dict[str, Any]] = [
        {
            "name": name,
            "label": LABELS.get(name, name).capitalize(),
            "value": given[name],
            "error": errors.pop(name, ""),
        }
        for name in names
    ]
    return render_page(
        request,
        "workflows/edit_record.html",
        nav="runs",
        status=422 if request.method == "POST" else 200,
        run=run,
        record=record,
        row=RecordRow(record),
        fields=fields,
        other_errors=list(errors.values()),
        restart=request.POST.get("mode") == "restart",
    )


def can_be_retried(record: Any, run: Any) -> bool:
    """Whether the record's page offers to ask again."""
    return record.status in RETRYABLE and run.status not in ("cancelled", "failed")


def _carry_out(
    request: TenantRequest, run_id: uuid.UUID, operation: Callable[..., int], done: str, nothing: str
) -> HttpResponse:
    try:
        which = FailedFilter(code=request.POST.get("code", "").replace("\0", "")[:64])
        count = operation(
            tenant_id=request.membership.tenant_id, run_id=run_id, actor=actor(request), which=which
        )
    except Conflict as error:
        messages.error(request, error.detail)
    else:
        messages.success(request, f"{figures.counted(count, 'record')} {done}." if count else nothing)
    if request.POST.get("next") == reverse("failed"):
        return redirect("failed")
    return redirect("run", run_id=run_id)


def _one(
    request: TenantRequest,
    run_id: uuid.UUID,
    record_id: uuid.UUID,
    operation: Callable[..., object],
    done: str,
) -> HttpResponse:
    try:
        with tenant_scope(request.membership.tenant_id):
            operation(run_id=run_id, record_id=record_id, actor=actor(request))
    except InvalidInput as error:  # its input is what is wrong
        messages.error(request, error.detail)
        return redirect("edit_record", run_id=run_id, record_id=record_id)
    except Conflict as error:
        messages.error(request, error.detail)
    else:
        messages.success(request, done)
    return redirect("record", run_id=run_id, record_id=record_id)
