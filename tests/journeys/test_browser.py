"""The whole story in a real browser, from signing in to the results: by mouse, by keyboard, on a phone, without script."""

import csv
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tenants.scope import tenant_scope
from tests.journeys.browser import has_horizontal_scroll
from tests.journeys.conftest import Enter
from workflows.models import Record, Run
from workflows.operations.fill_run import fill_run

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tenants.models import Tenant
    from tests.sandbox import Sandbox

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

SAMPLE = Path(__file__).resolve().parents[2] / "config" / "demo" / "contacts.csv"
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
LEAST_TARGET_PX = 40


@pytest.fixture
def contacts(tmp_path: Path) -> Path:
    """The first sixty of the sample contacts, and one that nobody could look up."""
    lines = SAMPLE.read_text(encoding="utf-8-sig").splitlines()[:61]
    columns = len(next(csv.reader([lines[0]])))
    path = tmp_path / "October leads.csv"
    path.write_text("\n".join([*lines, "Nobody" + "," * (columns - 1)]) + "\n", encoding="utf-8")
    return path


def read_rows_of(tenant: "Tenant") -> Run:
    """Do the worker's part: turn the rows of the run that was just started into records."""
    with tenant_scope(tenant):
        run: Run = Run.objects.latest("id")
    fill_run(tenant.pk, run.pk)
    return run


def upload(page: "Page", path: Path) -> None:
    page.set_input_files("#file", path)
    page.get_by_role("button", name="Upload and check columns").click()


def test_from_a_file_to_results(
    enter: Enter, vendors: "Sandbox", engine: Any, tenant: "Tenant", contacts: Path, tmp_path: Path
):
    page = enter().page
    page.get_by_role("link", name="Upload contacts").click()
    upload(page, contacts)
    page.get_by_role("heading", name="60 rows ready, 1 with faults").wait_for()
    assert page.get_by_label("First name").input_value() == "First Name"
    assert page.get_by_role("cell", name="62", exact=True).is_visible()
    page.get_by_role("button", name=re.compile("^Start run")).click()
    page.wait_for_url("**/app/runs/*-*/")

    read_rows_of(tenant)
    page.evaluate("window.stillTheSamePage = true")
    page.get_by_text(re.compile(r"waiting for Prospeo's rate")).first.wait_for()
    page.locator(".pill", has_text="Completed").wait_for(timeout=60_000)
    assert page.evaluate("window.stillTheSamePage"), "progress needs no reload"

    with tenant_scope(tenant):
        run = Run.objects.get()
        found = Record.objects.filter(run=run, status="found").first()
    assert page.locator("[data-announce]").inner_text() == f"{run.found} of 61 found"
    assert 0 < run.found < 60
    assert page.get_by_role("link", name=f"Found {run.found}").is_visible()
    assert page.locator("#announcer").inner_text() == f"{run.found} of 61 found"

    page.get_by_role("link", name=f"Found {run.found}").click()
    assert page.url.endswith("?status=found#records")
    page.locator(f"#r{found.position} a").click()
    page.get_by_role("heading", name=re.compile(re.escape(found.output["email"]))).wait_for()
    assert page.get_by_text(re.compile("call took")).count() >= 2
    page.go_back()
    assert page.url.endswith("?status=found#records")

    page.get_by_text("Download", exact=True).click()
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV, all columns kept").click()
    download.value.save_as(tmp_path / "results.csv")
    with (tmp_path / "results.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 61
    assert sum(row["status"] == "found" for row in rows) == run.found
    assert rows[60]["status"] == "failed"


def test_a_file_that_cannot_be_used_is_named_and_the_form_is_kept(
    enter: Enter, vendors: "Sandbox", contacts: Path, tmp_path: Path
):
    page = enter().page
    page.goto("/app/runs/new/")
    page.get_by_role("radio", name=re.compile("^Email verify")).check()
    pdf = tmp_path / "leads.csv"
    pdf.write_bytes(b"%PDF-1.7\n" + b"0" * 2000)
    upload(page, pdf)
    page.get_by_text("This is a PDF, not a CSV file").wait_for()
    assert page.locator("#file").evaluate("input => input.files[0].name") == "leads.csv"
    assert page.get_by_role("radio", name=re.compile("^Email verify")).is_checked()

    empty = tmp_path / "empty.csv"
    empty.write_bytes(b"")
    upload(page, empty)
    page.locator("[data-code=empty_file]").wait_for()

    page.get_by_role("radio", name=re.compile("^Email waterfall")).check()
    page.set_input_files("#file", contacts)
    assert page.locator("#upload-errors").inner_text() == "", "the error goes with the file that it was about"
    page.get_by_role("button", name="Upload and check columns").click()
    page.get_by_role("heading", name="60 rows ready, 1 with faults").wait_for()


def test_a_file_that_is_too_large_is_refused_before_it_is_sent(enter: Enter, tmp_path: Path):
    page = enter().page
    page.goto("/app/runs/new/")
    huge = tmp_path / "huge.csv"
    with huge.open("wb") as file:
        file.truncate(51 * 1024 * 1024)
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.method))
    upload(page, huge)
    page.get_by_text("This file is too large: 53.5 MB").wait_for()
    page.wait_for_timeout(300)
    assert "POST" not in sent


def test_columns_are_changed_with_the_price_beside_them_and_the_address_keeps_them(
    enter: Enter, vendors: "Sandbox", contacts: Path
):
    page = enter().page
    page.goto("/app/runs/new/")
    upload(page, contacts)
    page.get_by_role("heading", name="60 rows ready").wait_for()
    page.get_by_label("LinkedIn link").select_option("")
    page.get_by_role("heading", name=re.compile("^(All 61 rows|[0-9]+ rows? ready)")).wait_for()
    first_name = page.get_by_label("First name")
    first_name.focus()
    first_name.select_option("")
    page.get_by_text("No column is chosen for the name").first.wait_for()
    assert page.get_by_role("button", name=re.compile("^Start run")).is_disabled()
    assert page.evaluate("document.activeElement.id") == "m_first_name", "the focus stays where it was"
    page.reload()
    assert first_name.input_value() == ""
    first_name.select_option("First Name")
    page.get_by_label("LinkedIn link").select_option("LinkedIn")
    page.get_by_role("heading", name="60 rows ready").wait_for()
    assert page.get_by_role("button", name="Start run: 60 rows").is_enabled()


def test_a_run_is_paused_resumed_and_cancelled(
    enter: Enter, vendors: "Sandbox", tenant: "Tenant", contacts: Path
):
    page = enter().page
    page.goto("/app/runs/new/")
    upload(page, contacts)
    page.get_by_role("button", name=re.compile("^Start run")).click()
    page.wait_for_url("**/app/runs/*-*/")
    read_rows_of(tenant)
    page.get_by_role("button", name="Pause").click()
    page.get_by_text("Paused with 0 of 61 found, 60 left").wait_for()
    page.get_by_role("button", name="Resume").click()
    page.get_by_role("button", name="Pause").wait_for()
    page.get_by_role("link", name="Cancel").click()
    dialog = page.get_by_role("dialog", name="Cancel “October leads.csv”?")
    assert "60 rows" in dialog.inner_text()
    dialog.get_by_role("button", name="Keep running").click()
    assert not dialog.is_visible()
    page.get_by_role("link", name="Cancel").click()
    dialog.get_by_role("button", name="Cancel run").click()
    page.get_by_text("Cancelled with 0 of 61 found").wait_for()
    with tenant_scope(tenant):
        assert Run.objects.get().cancelled == 60


def test_everything_goes_by_keyboard(enter: Enter, vendors: "Sandbox", tenant: "Tenant", contacts: Path):
    page = enter().page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    tab_to(page, "Upload contacts")
    page.keyboard.press("Enter")
    page.wait_for_url("**/runs/new/")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "search"
    page.set_input_files("#file", contacts)  # the system's own file dialog is beyond any page
    tab_to(page, "Upload and check columns")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="60 rows ready").wait_for()
    tab_to(page, "Start run")
    page.keyboard.press("Enter")
    page.wait_for_url("**/app/runs/*-*/")
    read_rows_of(tenant)
    page.locator("#r1").wait_for()
    tab_to(page, "Cancel")
    assert outline_width(page) >= 2, "the focus can be seen"
    page.keyboard.press("Enter")
    assert page.get_by_role("dialog").is_visible()
    page.keyboard.press("Escape")
    assert not page.get_by_role("dialog").is_visible()
    assert page.evaluate("document.activeElement.id") == "cancel-run", "the focus goes back"
    tab_to(page, "Download")
    page.keyboard.press("Enter")
    page.get_by_role("link", name="JSON lines").wait_for()
    page.keyboard.press("Escape")
    assert not page.get_by_role("link", name="JSON lines").is_visible()
    with tenant_scope(tenant):
        first = Record.objects.get(position=1)
    tab_to(page, f"{first.input['first_name']} {first.input['last_name']}")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Steps").wait_for()


def test_a_phone_shows_every_page_without_scrolling_sideways(
    enter: Enter, vendors: "Sandbox", tenant: "Tenant", contacts: Path
):
    page = enter(**PHONE).page
    page.goto("/app/runs/new/")
    upload(page, contacts)
    page.get_by_role("heading", name="60 rows ready").wait_for()
    assert not has_horizontal_scroll(page)
    page.get_by_role("button", name=re.compile("^Start run")).click()
    page.wait_for_url("**/app/runs/*-*/")
    run = read_rows_of(tenant)
    with tenant_scope(tenant):
        record = Record.objects.get(position=1)
    run_path = f"/app/runs/{run.pk}/"
    paths = [
        "/app/", "/app/runs/", run_path, f"{run_path}records/{record.pk}/", f"{run_path}cancel/", "/app/vendors/",
        "/app/vendors/new/", "/app/workflows/", "/app/workflows/email-waterfall/", "/app/insights/", "/app/usage/",
        "/app/developers/", "/app/settings/", "/app/settings/audit/", "/app/design/", "/accounts/password/change/",
    ]  # fmt: skip
    for path in paths:
        page.goto(path)
        assert not has_horizontal_scroll(page), path
        assert small_targets(page) == [], path
    page.goto("/app/")
    page.get_by_text("More", exact=True).click()
    page.get_by_role("link", name="Developers").click()
    page.wait_for_url("**/developers/")


def test_it_works_without_script(enter: Enter, vendors: "Sandbox", tenant: "Tenant", contacts: Path):
    page = enter(java_script_enabled=False).page
    page.goto("/app/runs/new/")
    upload(page, contacts)
    page.get_by_role("heading", name="60 rows ready").wait_for()
    page.get_by_label("First name").select_option("")
    page.get_by_label("LinkedIn link").select_option("")
    page.get_by_role("button", name="Check again").click()
    page.get_by_text("No column is chosen for the name").first.wait_for()
    page.get_by_label("First name").select_option("First Name")
    page.get_by_label("LinkedIn link").select_option("LinkedIn")
    page.get_by_role("button", name="Check again").click()
    page.get_by_role("button", name="Start run: 60 rows").click()
    page.wait_for_url("**/app/runs/*-*/")
    read_rows_of(tenant)
    page.reload()
    assert page.locator("#r1").is_visible()
    assert page.locator("noscript meta[http-equiv=refresh]").count() == 1 or (
        page.locator("meta[http-equiv=refresh]").get_attribute("content") == "5"
    )
    page.get_by_role("link", name="Cancel").click()
    page.get_by_role("heading", name="Cancel “October leads.csv”?").wait_for()
    page.get_by_role("button", name="Cancel run").click()
    page.get_by_text("Cancelled with 0 of 61 found").wait_for()


def test_dark_is_dark_and_the_choice_is_kept(enter: Enter):
    page = enter(color_scheme="dark").page
    assert lightness(page) < 0.2
    page.goto("/app/settings/")
    page.get_by_role("radio", name="Light").check()
    page.get_by_role("button", name="Save").click()
    page.wait_for_load_state()
    assert lightness(page) > 0.8


def tab_to(page: "Page", words: str, *, most: int = 120) -> None:
    """Press Tab until the focus is on what is called so."""
    for _ in range(most):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent.trim()").startswith(words):
            return
    raise AssertionError(f"{words!r} cannot be reached by keyboard")


def outline_width(page: "Page") -> float:
    return float(page.evaluate("parseFloat(getComputedStyle(document.activeElement).outlineWidth)"))


def small_targets(page: "Page") -> list[str]:
    """Buttons, and links that look like one, that a finger could miss."""
    return list(
        page.evaluate(
            """least => [...document.querySelectorAll('.btn, .rail a, .rail summary, .tabs a, select, .topbar summary')]
                .filter(target => target.offsetParent && target.getBoundingClientRect().height < least)
                .map(target => target.outerHTML.slice(0, 120))""",
            LEAST_TARGET_PX,
        )
    )


def lightness(page: "Page") -> float:
    """Of the page's ground, from 0 (black) to 1 (white)."""
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    parts = [int(part) for part in re.findall(r"\d+", colour)[:3]]
    return sum(parts) / (3 * 255)
