"""Failed records on the pages: asked for again, changed, put aside."""

import uuid

import pytest
from django.db.models.functions import Now
from django.test import Client

from tenants.models import Tenant
from tenants.scope import tenant_scope
from workflows.models import LaneRun, Record, Run, StepQueue


@pytest.fixture
def failed(tenant: Tenant, run: Run) -> Run:
    """The run of three, ended: a vendor gave up on two records, the third is faulty."""
    with tenant_scope(tenant):
        StepQueue.objects.all().delete()
        LaneRun.objects.all().delete()
        Record.objects.filter(status="queued").update(
            status="failed",
            started_at=Now(),
            finished_at=Now(),
            error={"code": "vendor_error", "message": "Gave up."},
        )
        Run.objects.update(status="completed", pending=0, queued=0, failed=3, finished_at=Now())
    return run


def counts(run: Run) -> tuple[int, int, int]:
    with tenant_scope(run.tenant_id):
        found = Run.objects.get(pk=run.pk)
    return found.queued, found.failed, found.skipped


def test_failed_records_are_listed_by_run_and_error_and_retried_there(admin: Client, failed: Run) -> None:
    page = admin.get("/app/failed/").content.decode()
    assert "3 of 3 failed" in page
    assert "Gave up." in page
    assert page.count(f'action="/app/runs/{failed.pk}/retry/"') == 1, "a faulty row is no use to retry"
    form = {"code": "vendor_error", "next": "/app/failed/"}
    answer = admin.post(f"/app/runs/{failed.pk}/retry/", form, follow=True)
    assert answer.redirect_chain[0][0] == "/app/failed/"
    assert "2 records asked for again." in answer.content.decode()
    assert counts(failed) == (2, 1, 0)
    admin.post(f"/app/runs/{failed.pk}/discard/")
    assert counts(failed) == (2, 0, 1)
    assert "No failed records" in admin.get("/app/failed/").content.decode()


def test_no_other_site_is_opened_afterwards(admin: Client, failed: Run) -> None:
    answer = admin.post(f"/app/runs/{failed.pk}/retry/", {"next": "https://evil.example/"})
    assert answer["Location"] == f"/app/runs/{failed.pk}/"


def test_the_run_s_page_retries_what_failed(admin: Client, failed: Run) -> None:
    assert 'id="retry-run"' in admin.get(f"/app/runs/{failed.pk}/").content.decode()
    admin.post(f"/app/runs/{failed.pk}/retry/")
    assert counts(failed) == (2, 1, 0)


def test_a_record_is_retried_and_discarded_from_its_page(
    admin: Client, viewer: Client, failed: Run, first_record: uuid.UUID
) -> None:
    path = f"/app/runs/{failed.pk}/records/{first_record}/"
    assert "retry-record" not in viewer.get(path).content.decode()
    page = admin.get(path).content.decode()
    for name in ("retry-record", "edit-record", "discard-record"):
        assert f'id="{name}"' in page
    admin.post(f"{path}discard/")
    assert counts(failed) == (0, 2, 1)
    page = admin.get(path).content.decode()
    assert 'id="retry-record"' in page
    assert "discard-record" not in page
    admin.post(f"{path}retry/")
    assert counts(failed) == (1, 2, 0)
    assert "retry-record" not in admin.get(path).content.decode()


def test_a_faulty_row_is_mended_on_its_form(admin: Client, tenant: Tenant, failed: Run) -> None:
    with tenant_scope(tenant):
        record = Record.objects.get(position=3)
    path = f"/app/runs/{failed.pk}/records/{record.pk}"
    answer = admin.post(f"{path}/retry/", follow=True)
    assert answer.redirect_chain[0][0] == f"{path}/edit/"
    given = {"first_name": "Ada", "last_name": "Byron", "domain": "not a domain", "mode": "resume"}
    refused = admin.post(f"{path}/edit/", given)
    assert refused.status_code == 422
    assert 'aria-invalid="true"' in refused.content.decode()
    assert 'value="Byron"' in refused.content.decode(), "what was typed is kept"
    answer = admin.post(f"{path}/edit/", given | {"domain": "engines.example"}, follow=True)
    assert "asked for again" in answer.content.decode()
    assert counts(failed) == (1, 2, 0)
    with tenant_scope(tenant):
        record.refresh_from_db()
    assert record.input == {"first_name": "Ada", "last_name": "Byron", "domain": "engines.example"}


def test_a_run_at_its_limit_says_so_and_its_limit_is_changed(admin: Client, tenant: Tenant, run: Run) -> None:
    with tenant_scope(tenant):
        Run.objects.update(credit_limit=1_000)
        LaneRun.objects.update(state="budget")
    assert 'id="at-limit"' in admin.get(f"/app/runs/{run.pk}/").content.decode()
    page = f"/app/runs/{run.pk}/limit/"
    assert 'value="1' in admin.get(page).content.decode()
    assert admin.post(page, {"credit_limit": "-1"}).status_code == 422
    assert admin.post(page, {"credit_limit": "12.5"})["Location"] == f"/app/runs/{run.pk}/"
    with tenant_scope(tenant):
        assert Run.objects.get().credit_limit == 12_500
        assert set(LaneRun.objects.values_list("state", flat=True)) == {"active"}
    assert 'id="at-limit"' not in admin.get(f"/app/runs/{run.pk}/").content.decode()
