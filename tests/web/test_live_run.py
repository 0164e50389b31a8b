"""The live part of a run's page: what changed is sent, what did not is not, and the last change ends the asking."""

from typing import TYPE_CHECKING, Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tenants.scope import tenant_scope
from workflows.models import Lane, Record, Run, RunVendor
from workflows.operations.control_run import pause_run

if TYPE_CHECKING:
    from tenants.models import Tenant

LIVE = {"HX-Request": "true"}
# Scope, run, vendors, lanes, estimate, records, memberships, session, user: none of them per row.
QUERY_BUDGET = 24


def version_of(html: str) -> str:
    return html.partition('hx-vals=\'{"v": "')[2].partition('"')[0]


def look(client: Client, run: Run, version: str = "", query: str = "") -> Any:
    return client.get(f"/app/runs/{run.pk}/live/?v={version}{query}", headers=LIVE)


@pytest.fixture
def version(admin: Client, run: Run) -> str:
    """What the page of the run shows now."""
    return version_of(admin.get(f"/app/runs/{run.pk}/").content.decode())


def test_an_unchanged_run_is_not_sent_again(admin: Client, run: Run, version: str):
    assert version
    answer = look(admin, run, version)
    assert answer.status_code == 204
    assert answer.content == b""


@pytest.mark.parametrize(
    "change",
    [
        {"found": 1, "queued": 1},
        {"running": 2, "queued": 0},
        {"credits_spent": 500},
        {"started_at": timezone.now()},
        {"credit_limit": 5000},
    ],
)
def test_a_changed_count_is_sent(
    admin: Client, tenant: "Tenant", run: Run, version: str, change: dict[str, Any]
):
    with tenant_scope(tenant):
        Run.objects.filter(pk=run.pk).update(**change)
    answer = look(admin, run, version)
    assert answer.status_code == 200
    assert version_of(answer.content.decode()) not in ("", version)


def test_what_a_vendor_did_is_sent(admin: Client, tenant: "Tenant", run: Run, version: str):
    with tenant_scope(tenant):
        RunVendor.objects.create(
            run=run, provider="prospeo", operation="find", calls=2, hits=1, misses=1, credits=1000
        )
    html = look(admin, run, version).content.decode()
    assert "Prospeo" in html
    assert "50%" in html


def test_a_record_that_changed_is_sent(
    admin: Client, tenant: "Tenant", run: Run, version: str, first_record: Any
):
    with tenant_scope(tenant):
        Record.objects.filter(pk=first_record).update(
            status="found",
            output={"email": "ada@engines.example", "email_status": "valid", "found_by": "prospeo"},
        )
    assert "ada@engines.example" in look(admin, run, version).content.decode()


def test_rows_that_did_not_change_are_not_sent_again(admin: Client, tenant: "Tenant", run: Run, version: str):
    with tenant_scope(tenant):
        Run.objects.filter(pk=run.pk).update(running=1)
    html = look(admin, run, version).content.decode()
    assert '<div id="rows" data-keep></div>' in html
    assert '<tr class="linked"' not in html


def test_a_pause_by_somebody_else_is_sent(admin: Client, tenant: "Tenant", run: Run, version: str):
    with tenant_scope(tenant):
        pause_run(run_id=run.pk, actor="user:colleague@acme.example")
    html = look(admin, run, version).content.decode()
    assert "Resume" in html
    assert "Paused with 0 of 3 found, 2 left" in html


def test_the_end_is_sent_once_and_ends_the_asking(admin: Client, tenant: "Tenant", run: Run, version: str):
    with tenant_scope(tenant):
        Run.objects.filter(pk=run.pk).update(
            status="completed",
            found=2,
            queued=0,
            pending=0,
            started_at=timezone.now(),
            finished_at=timezone.now(),
        )
    answer = look(admin, run, version)
    assert answer.status_code == 286
    html = answer.content.decode()
    assert "2 of 3 found" in html
    assert "hx-get" not in html
    assert "hx-get" not in admin.get(f"/app/runs/{run.pk}/").content.decode().partition('id="run"')[2]


def test_the_page_and_the_fragment_show_the_same(admin: Client, run: Run):
    page = admin.get(f"/app/runs/{run.pk}/?status=failed").content.decode()
    fragment = look(admin, run, query="&status=failed").content.decode()
    start = page.index('<div id="run"')
    tokenless = [line for line in fragment.splitlines() if "csrfmiddlewaretoken" not in line]
    assert all(line in page[start:] for line in tokenless)


def test_looking_again_costs_a_bounded_number_of_queries(
    admin: Client, tenant: "Tenant", version: str, run: Run
):
    from tests.factories import make_run

    big = make_run(tenant, 60)
    with CaptureQueriesContext(
        connection,
    ) as few:
        look(admin, run, version)
    with CaptureQueriesContext(connection) as many:
        look(admin, big)
    assert len(many) <= len(few) <= QUERY_BUDGET


def test_the_records_are_paged_by_position_and_the_filter_stays(admin: Client, tenant: "Tenant"):
    from tests.factories import connect_all, contact, make_run

    connect_all(tenant)
    run = make_run(tenant, [*(contact(n) for n in range(120)), {"first_name": "Nobody"}])
    first = admin.get(f"/app/runs/{run.pk}/?status=queued").content.decode()
    assert 'id="r50"' in first
    assert 'id="r51"' not in first
    assert "?status=queued&amp;after=50" in first
    second = admin.get(f"/app/runs/{run.pk}/?status=queued&after=50").content.decode()
    assert 'id="r51"' in second
    assert "?status=queued&amp;before=51" in second
    third = admin.get(f"/app/runs/{run.pk}/?status=queued&after=100").content.decode()
    assert 'id="r120"' in third
    assert 'id="r121"' not in third
    assert 'rel="next"' not in third
    back = admin.get(f"/app/runs/{run.pk}/?status=queued&before=51").content.decode()
    assert 'id="r1"' in back
    assert 'rel="prev"' not in back


@pytest.mark.parametrize(
    "query", ["after=x", "after=-1", "after=99999999999", "status=nonsense", "before=%00", "v=%00"]
)
def test_a_query_string_that_makes_no_sense_does_no_harm(admin: Client, run: Run, query: str):
    assert admin.get(f"/app/runs/{run.pk}/?{query}").status_code == 200
    assert admin.get(f"/app/runs/?{query}").status_code == 200


def test_a_run_that_ended_is_not_paused_but_said_to_have_ended(admin: Client, tenant: "Tenant", run: Run):
    with tenant_scope(tenant):
        Run.objects.filter(pk=run.pk).update(
            status="completed", pending=0, queued=0, finished_at=timezone.now()
        )
    answer = admin.post(f"/app/runs/{run.pk}/pause/", follow=True)
    assert "The run is completed already" in answer.content.decode()


def test_cancelling_names_the_run_and_its_rows_before_it_is_done(admin: Client, tenant: "Tenant", run: Run):
    asked = admin.get(f"/app/runs/{run.pk}/cancel/").content.decode()
    assert "Cancel “October leads.csv”?" in asked
    assert "2 rows not finished" in asked
    admin.post(f"/app/runs/{run.pk}/cancel/")
    with tenant_scope(tenant):
        assert Run.objects.get(pk=run.pk).status == "cancelled"


def test_runs_are_found_by_their_name(admin: Client, run: Run):
    assert "October leads.csv" in admin.get("/app/runs/?q=october").content.decode()
    assert "October leads.csv" not in admin.get("/app/runs/?q=november").content.decode()
    assert admin.get("/app/runs/?q=%00").status_code == 200
    assert admin.get("/app/runs/?q=%25_%27%3B--").status_code == 200


def test_results_are_streamed_with_a_name(admin: Client, run: Run):
    answer = admin.get(f"/app/runs/{run.pk}/results.csv")
    assert answer["Content-Disposition"] == 'attachment; filename="october-leads-results.csv"'
    lines = b"".join(answer.streaming_content).decode("utf-8-sig").splitlines()
    assert len(lines) == 4
    assert admin.get(f"/app/runs/{run.pk}/results.exe").status_code == 404


@pytest.mark.parametrize("path", ["/app/home/recent/", "/app/vendors/", "/app/runs/{run}/records/{record}/"])
def test_the_other_live_parts_send_what_changed_alone(
    admin: Client, tenant: "Tenant", run: Run, first_record: Any, path: str
):
    path = path.format(run=run.pk, record=first_record)
    whole = admin.get(path, headers=LIVE)
    assert whole.status_code == 200
    html = whole.content.decode()
    assert "<html" not in html
    assert admin.get(f"{path}?v={version_of(html)}", headers=LIVE).status_code == 204
    with tenant_scope(tenant):
        pause_run(run_id=run.pk, actor="user:colleague@acme.example")
        Lane.objects.update(paused=True)
        Record.objects.filter(pk=first_record).update(status="running")
    assert admin.get(f"{path}?v={version_of(html)}", headers=LIVE).status_code == 200


def test_the_live_part_of_a_record_ends_with_it(admin: Client, tenant: "Tenant", run: Run, first_record: Any):
    with tenant_scope(tenant):
        Record.objects.filter(pk=first_record).update(status="not_found", finished_at=timezone.now())
    assert admin.get(f"/app/runs/{run.pk}/records/{first_record}/", headers=LIVE).status_code == 286
