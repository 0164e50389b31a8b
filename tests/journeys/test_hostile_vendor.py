"""S11: what a vendor answers, and what a file brings, is text on every page: nothing of it runs in a browser."""

import pytest
from django.test import Client
from django.utils import timezone

from integrations.models import Connection
from tenants.ids import uuid7
from tenants.models import User
from tenants.scope import tenant_scope
from tests.factories import PASSWORD, connect_all, contact, make_run
from workflows.models import Record, Run, Step

pytestmark = pytest.mark.browser

HOSTILE = (
    "<script>window.pwned=1</script>",
    "<img src=x onerror='window.pwned=1'>",
    '"><svg onload=window.pwned=1>',
    "'-window.pwned=1-'",
    "</textarea></title></style><script>window.pwned=1</script>",
    "{{ 7*7 }}{% now 'Y' %}<iframe srcdoc='<script>parent.pwned=1</script>'>",
    "javascript:window.pwned=1",
    "=cmd|' /C calc'!A0",
    "'; DROP TABLE record; --",
)


@pytest.fixture
def hostile(committed, tenant):
    """A run whose records, steps, name and vendors say such things everywhere they can."""
    connect_all(tenant)
    records = [contact(n, last_name=text, company=text, note=text) for n, text in enumerate(HOSTILE)]
    run = make_run(tenant, records, name=HOSTILE[0], metadata={"x": HOSTILE[1]})
    with tenant_scope(tenant):
        for record, text in zip(Record.objects.order_by("position"), HOSTILE, strict=True):
            output = {"email": text, "email_status": "valid", "found_by": text, "verified_by": text}
            failed = record.position % 2 == 0
            Record.objects.filter(pk=record.pk).update(
                status="failed" if failed else "found",
                output=None if failed else output,
                error={"code": "vendor_error", "message": text} if failed else None,
            )
            Step.objects.create(
                id=uuid7(), queue_id=uuid7(), run_id=run.pk, record_id=record.pk, name="find:prospeo", operation="find",
                provider="prospeo", status="failed", outcome="error", reason=text[:300], attempt=1, credits=0,
                answer={"email": text, "raw": text}, finished_at=timezone.now(),
            )  # fmt: skip
        Connection.objects.update(last_error=HOSTILE[2], name=HOSTILE[1][:80], status="auth_failed")
        Run.objects.update(error=HOSTILE[4][:300])
    return run


def looked_at(page, address):
    page.goto(address)
    page.wait_for_load_state("load")
    assert page.evaluate("window.pwned") is None, address
    assert page.evaluate("document.querySelectorAll('iframe, img[src=x], svg[onload]').length") == 0, address
    return page.content()


def test_no_page_of_the_tenant_runs_it(hostile, tenant, enter):
    person = enter()
    with tenant_scope(tenant):
        records = [str(pk) for pk in Record.objects.values_list("pk", flat=True)]
    page = person.page
    base = page.url.split("/app/")[0]
    shown = looked_at(page, f"{base}/app/runs/{hostile.pk}/")
    assert "&lt;script&gt;window.pwned=1" in shown
    for record in records:
        looked_at(page, f"{base}/app/runs/{hostile.pk}/records/{record}/")
    for path in ("", "runs/", "vendors/", "failed/", "insights/", f"runs/?q={HOSTILE[1]}", "audit/"):
        looked_at(page, f"{base}/app/{path}")


def test_no_page_of_the_console_runs_it(hostile, tenant, browser, live_server):
    client = Client()
    client.force_login(User.objects.create_superuser("ops@weir.example", PASSWORD))
    [cookie] = [value for name, value in client.cookies.items() if "session" in name]
    context = browser.new_context()
    context.add_cookies([{"name": cookie.key, "value": cookie.value, "url": live_server.url}])
    page = context.new_page()
    with tenant_scope(tenant):
        step, record = Step.objects.first().pk, Record.objects.first().pk
    shown = ""
    for path in (
        f"run/{hostile.pk}/change",
        f"record/{record}/change",
        f"step/{step}/change",
        "run",
        "record",
        "step",
    ):
        shown += looked_at(page, f"{live_server.url}/admin/workflows/{path}/")
        assert "/admin/workflows/" in page.url
    looked_at(page, f"{live_server.url}/admin/integrations/connection/")
    assert "&lt;script&gt;window.pwned=1" in shown
    context.close()
