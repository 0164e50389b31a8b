"""Rows of an upload become records: all of them, once, wherever the filling is stopped."""

import io
from collections.abc import Callable
from typing import Any

import pytest
from django.core.files.storage import default_storage

from integrations.models import Connection
from tenants.models import Tenant
from tenants.scope import tenant_scope
from tests.factories import ACTOR
from workflows.errors import MappingRefused
from workflows.exports import results_csv
from workflows.models import Record, Run, StepQueue, Upload
from workflows.operations import fill_run as filling
from workflows.operations.accept_run import accept_upload, find_workflow
from workflows.operations.control_run import cancel_run
from workflows.operations.create_upload import create_upload
from workflows.operations.fill_run import fill_run


def csv_of(rows: int) -> bytes:
    """`rows` contacts; every tenth has no company and no domain."""
    lines = ["First Name,Last Name,Website,Note"]
    for number in range(1, rows + 1):
        domain = "" if number % 10 == 0 else f"firm{number}.example"
        lines.append(f"Person{number},Smith,{domain},note {number}")
    return "\r\n".join(lines).encode()


@pytest.fixture
def connected(connect: Callable[..., Connection]) -> None:
    for provider in ("prospeo", "findymail", "zerobounce"):
        connect(provider, mode="sandbox")


@pytest.fixture
def upload(tenant: Tenant, connected: None) -> Upload:
    return _upload(tenant, 250)


def _upload(tenant: Tenant, rows: int) -> Upload:
    content = csv_of(rows)
    with tenant_scope(tenant):
        return create_upload(file=io.BytesIO(content), filename="list.csv", size=len(content), actor=ACTOR)


def accept(tenant: Tenant, upload: Upload, **options: Any) -> Run:
    with tenant_scope(tenant):
        return accept_upload(
            workflow=find_workflow("email-waterfall"), upload=upload, actor=ACTOR, source="upload", livemode=True,
            **options,
        )  # fmt: skip


def now(run: Run) -> Run:
    with tenant_scope(run.tenant_id):
        return Run.objects.get(pk=run.pk)


def test_every_row_becomes_a_record_with_its_line_and_all_its_columns(tenant: Tenant, upload: Upload) -> None:
    run = accept(tenant, upload)
    assert (run.total, run.pending, run.queued, run.filled) == (250, 250, 250, 0)
    fill_run(tenant.pk, run.pk)
    run = now(run)
    assert (run.filled, run.queued, run.failed, run.pending) == (250, 225, 25, 225)
    with tenant_scope(tenant):
        records = list(Record.objects.filter(run=run))
        assert [record.position for record in records] == list(range(1, 251))
        assert [record.line for record in records] == list(range(2, 252))
        assert records[0].input == {
            "first_name": "Person1",
            "last_name": "Smith",
            "domain": "firm1.example",
            "Note": "note 1",
        }
        assert records[9].status == "failed"
        assert records[9].error["code"] == "missing_company"
        assert StepQueue.objects.count() == 225


def test_a_filling_that_was_stopped_goes_on_where_it_was(
    tenant: Tenant, upload: Upload, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = accept(tenant, upload)
    monkeypatch.setattr(filling, "CHUNK", 40)
    real, calls = filling.write_records, []

    def dies_at_the_third(*args: Any) -> None:
        calls.append(args)
        if len(calls) == 3:
            raise RuntimeError("killed")
        return real(*args)

    monkeypatch.setattr(filling, "write_records", dies_at_the_third)
    with pytest.raises(RuntimeError):
        fill_run(tenant.pk, run.pk)
    assert now(run).filled == 140
    fill_run(tenant.pk, run.pk)
    fill_run(tenant.pk, run.pk)
    assert now(run).filled == 250
    with tenant_scope(tenant):
        assert Record.objects.filter(run=run).count() == 250


def test_rows_of_a_cancelled_run_are_kept_as_cancelled(
    tenant: Tenant, upload: Upload, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = accept(tenant, upload)
    with tenant_scope(tenant):
        cancel_run(run_id=run.pk, actor=ACTOR)
    fill_run(tenant.pk, run.pk)
    run = now(run)
    assert (run.status, run.cancelled, run.pending, run.queued) == ("cancelled", 250, 0, 0)
    assert run.finished_at is not None
    with tenant_scope(tenant):
        assert StepQueue.objects.count() == 0


def test_a_file_that_is_gone_fails_the_run_and_says_so(tenant: Tenant, upload: Upload) -> None:
    run = accept(tenant, upload)
    default_storage.delete(upload.stored_as)
    fill_run(tenant.pk, run.pk)
    run = now(run)
    assert run.status == "failed"
    assert "Upload it again" in run.error


def test_a_changed_mapping_is_used_and_a_faulty_one_refused(tenant: Tenant, upload: Upload) -> None:
    with pytest.raises(MappingRefused) as refused:
        accept(tenant, upload, mapping={"domain": "Website"})
    assert refused.value.code == "missing_name_column"
    run = accept(tenant, upload, mapping={"full_name": "Note", "company": "Website"})
    fill_run(tenant.pk, run.pk)
    with tenant_scope(tenant):
        first = Record.objects.filter(run=run).first()
    assert first is not None
    assert first.input["full_name"] == "note 1"


def test_what_cleaning_changed_is_kept_beside_it(tenant: Tenant, connected: None) -> None:
    content = b"First Name,Last Name,Website\n ada ,Lovelace,https://www.engine.example/about\n"
    with tenant_scope(tenant):
        upload = create_upload(file=io.BytesIO(content), filename="a.csv", size=len(content), actor=ACTOR)
    run = accept(tenant, upload)
    fill_run(tenant.pk, run.pk)
    with tenant_scope(tenant):
        record = Record.objects.get(run=run)
    assert record.input["domain"] == "engine.example"
    assert record.original == {"first_name": " ada ", "domain": "https://www.engine.example/about"}
    exported = b"".join(results_csv(tenant.pk, run)).decode("utf-8-sig").splitlines()
    assert exported[1].startswith(" ada ,Lovelace,https://www.engine.example/about,")
