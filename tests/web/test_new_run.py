"""From a file to a run without a browser: errors by name, columns, the price, and the start."""

import io
import re
from typing import TYPE_CHECKING, Any

import pytest
from django.conf import settings
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from tenants.scope import tenant_scope
from tests.factories import connect_all, make_connection
from workflows.models import Run, Upload

if TYPE_CHECKING:
    from tenants.models import Tenant

GOOD = b"First name,Last name,Company,City\nAda,Lovelace,Engines,London\nAlan,Turing,Bletchley,London\n"
FAULTY = GOOD + b"Grace,,,Arlington\n"


def upload(client: Client, content: bytes, name: str = "contacts.csv", **options: Any) -> Any:
    file = SimpleUploadedFile(name, content, content_type="text/csv")
    headers = {"HX-Request": "true"} if options.pop("htmx", False) else {}
    return client.post(
        "/app/runs/new/", {"workflow": "email-waterfall", "file": file, **options}, headers=headers
    )


def check_page(client: Client, content: bytes = GOOD) -> tuple[str, str]:
    """The address and the text of the second step."""
    answer = upload(client, content)
    assert answer.status_code == 302, answer.content.decode()
    return answer["Location"], client.get(answer["Location"]).content.decode()


def start(client: Client, location: str, html: str, **changes: str) -> Any:
    """Send the form of the second step as the page has it."""
    form = html.partition("/start/")[2]
    values = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', form))
    path = location.partition("?")[0] + "start/"
    return client.post(path, values | {"name": "contacts.csv", "credit_limit": ""} | changes)


@pytest.mark.parametrize(
    ("content", "name", "code", "words"),
    [
        (b"", "contacts.csv", "empty_file", "empty"),
        (b"%PDF-1.7 not a table", "contacts.csv", "not_csv", "This is a PDF, not a CSV file"),
        (b"PK\x03\x04[Content_Types].xml xl/", "contacts.xlsx", "not_csv", "In Excel choose"),
        (b"First name,Last name,Company\n", "contacts.csv", "no_data_rows", "no rows below"),
    ],
)
@pytest.mark.parametrize("htmx", [True, False], ids=["htmx", "plain"])
def test_a_file_that_cannot_be_used_is_refused_by_name(
    admin: Client, tenant: "Tenant", content: bytes, name: str, code: str, words: str, *, htmx: bool
):
    answer = upload(admin, content, name, htmx=htmx)
    html = answer.content.decode()
    assert answer.status_code == 422
    assert words in html
    assert f'data-code="{code}"' in html
    assert ("<form" in html) is not htmx, "with htmx the form stays on the page and is not sent again"
    with tenant_scope(tenant):
        assert not Upload.objects.exists()


def test_no_file_at_all_is_said_in_words(admin: Client):
    answer = admin.post("/app/runs/new/", {"workflow": "email-waterfall"})
    assert answer.status_code == 422
    assert "No file was chosen" in answer.content.decode()


def test_a_body_that_announces_too_much_is_refused_before_it_is_read(admin: Client):
    class Unread(io.BytesIO):
        def read(self, *args: Any) -> bytes:
            raise AssertionError("the body was read")

    answer = admin.generic(
        "POST", "/app/runs/new/", b"", content_type="multipart/form-data; boundary=x",
        CONTENT_LENGTH=str(2 * 1024**3), **{"wsgi.input": Unread()},  # type: ignore[arg-type]
    )  # fmt: skip
    assert answer.status_code == 413
    assert 'data-code="payload_too_large"' in answer.content.decode()


def test_a_file_that_is_too_large_is_refused_by_name(admin: Client, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(settings, "UPLOAD_MAX_BYTES", 200)
    answer = upload(admin, GOOD + b"x" * 500)
    assert answer.status_code == 413
    assert 'data-code="payload_too_large"' in answer.content.decode()


def test_an_unknown_workflow_is_said_in_words(admin: Client):
    answer = upload(admin, GOOD, workflow="nonsense")
    assert answer.status_code == 404
    assert "There is no workflow" in answer.content.decode()


def test_the_second_step_says_how_many_rows_are_ready_and_what_is_wrong_with_the_others(
    admin: Client, tenant: "Tenant"
):
    connect_all(tenant)
    _, html = check_page(admin, FAULTY)
    assert "2 rows ready, 1 with faults" in html
    assert re.search(r'<td class="num">4</td><td class="break">There is no last name', html)


def test_the_columns_are_guessed_and_can_be_changed_in_the_address(admin: Client, tenant: "Tenant"):
    connect_all(tenant)
    location, html = check_page(admin)
    assert re.search(r'<option value="Company" selected>', html)
    changed = admin.get(
        f"{location}&m_first_name=First+name&m_last_name=Last+name&m_company=City"
    ).content.decode()
    assert re.search(r'<option value="City" selected>', changed)
    assert "All 2 rows are ready" in changed


def test_rows_are_judged_anew_when_the_columns_change(admin: Client, tenant: "Tenant"):
    connect_all(tenant)
    location, _ = check_page(
        admin, b"Who,First name,Last name,Company\nAda Lovelace,,,Engines\nx,Alan,Turing,Bletchley\n"
    )
    by_full_name = admin.get(f"{location}&m_full_name=Who&m_company=Company").content.decode()
    assert "All 2 rows are ready" in by_full_name
    by_halves = admin.get(
        f"{location}&m_first_name=First+name&m_last_name=Last+name&m_company=Company"
    ).content.decode()
    assert "1 row ready, 1 with faults" in by_halves


def test_a_missing_name_column_is_named_beside_its_field_and_the_start_is_barred(
    admin: Client, tenant: "Tenant"
):
    connect_all(tenant)
    location, _ = check_page(admin)
    html = admin.get(f"{location}&m_company=Company").content.decode()
    assert "No column is chosen for the name" in html
    assert 'aria-describedby="p_full_name"' in html
    assert re.search(r'id="start-run" disabled', html)


def test_the_price_is_the_worst_case_per_vendor(admin: Client, tenant: "Tenant"):
    for provider in ("prospeo", "findymail", "zerobounce"):
        make_connection(tenant, provider, mode="live")
    _, html = check_page(admin)
    # 2 rows: each finder once per row at 1 credit, the verifier once per address of each finder.
    assert "At most 8 credits" in html
    assert "Start run: 2 rows, at most 8 credits" in html


def test_a_price_in_money_is_shown_where_the_credits_have_one(admin: Client, tenant: "Tenant"):
    for provider in ("prospeo", "findymail", "zerobounce"):
        make_connection(tenant, provider, mode="live", price_per_credit="0.04", currency="EUR")
    _, html = check_page(admin)
    assert "0.08 EUR" in html


def test_a_vendor_that_is_missing_is_named_with_what_to_do(admin: Client, tenant: "Tenant"):
    make_connection(tenant, "prospeo")
    _, html = check_page(admin)
    assert "Findymail, ZeroBounce are not connected" in html
    assert 'href="/app/vendors/new/?provider=findymail"' in html
    assert re.search(r'id="start-run" disabled', html)


def test_starting_makes_a_run_with_the_chosen_columns_and_limit(admin: Client, tenant: "Tenant"):
    connect_all(tenant)
    location, html = check_page(admin, FAULTY)
    answer = start(admin, location, html, credit_limit="2.5", name="My leads")
    with tenant_scope(tenant):
        run = Run.objects.get()
    assert answer["Location"] == f"/app/runs/{run.pk}/"
    assert (run.name, run.total, run.credit_limit) == ("My leads", 3, 2500)
    assert run.mapping == {"first_name": "First name", "last_name": "Last name", "company": "Company"}
    assert (run.source, run.created_by) == ("ui", "user:owner@acme.example")


def test_a_run_over_sandbox_vendors_alone_is_not_live(admin: Client, tenant: "Tenant"):
    connect_all(tenant)
    location, html = check_page(admin)
    assert "made up and nothing is paid for" in html
    start(admin, location, html)
    with tenant_scope(tenant):
        assert Run.objects.get().livemode is False


def test_with_live_keys_the_run_is_live_unless_sandbox_is_chosen(admin: Client, tenant: "Tenant"):
    connect_all(tenant)
    connect_all(tenant, mode="live")
    location, html = check_page(admin)
    assert 'name="mode" value="live" checked' in html
    start(admin, location, html)
    sandboxed = admin.get(f"{location}&mode=sandbox").content.decode()
    start(admin, location, sandboxed, again="1")
    with tenant_scope(tenant):
        assert list(Run.objects.order_by("id").values_list("livemode", flat=True)) == [True, False]


def test_sending_the_start_twice_makes_one_run(admin: Client, tenant: "Tenant"):
    connect_all(tenant)
    location, html = check_page(admin)
    first, second = start(admin, location, html), start(admin, location, html)
    assert first["Location"] == second["Location"]
    with tenant_scope(tenant):
        assert Run.objects.count() == 1
    assert "This file was started already" in admin.get(location).content.decode()


def test_a_limit_that_is_no_number_is_named_and_the_form_is_kept(admin: Client, tenant: "Tenant"):
    connect_all(tenant)
    location, html = check_page(admin)
    answer = start(admin, location, html, credit_limit="lots", name="My leads")
    again = answer.content.decode()
    assert answer.status_code == 422
    assert "The run was not started" in again
    assert 'value="My leads"' in again
    assert 'value="lots"' in again
    with tenant_scope(tenant):
        assert not Run.objects.exists()


def test_headings_with_markup_in_them_are_shown_as_they_are(admin: Client, tenant: "Tenant"):
    connect_all(tenant)
    _, html = check_page(admin, b"First name,Last name,Company,<script>alert(1)</script>\nAda,L,E,<b>x</b>\n")
    assert "<script>alert(1)" not in html
    assert "&lt;script&gt;alert(1)" in html
    assert "<b>x</b>" not in html


def test_a_file_of_e_mail_addresses_goes_to_the_verifier(admin: Client, tenant: "Tenant"):
    connect_all(tenant)
    answer = upload(admin, b"Email\nada@engines.example\nnonsense\n", workflow="email-verify")
    html = admin.get(answer["Location"]).content.decode()
    assert "1 row ready, 1 with faults" in html
