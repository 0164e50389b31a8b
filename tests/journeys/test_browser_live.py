"""The live page in a real browser: how soon a commit is seen, what moves by it, and when the page stops asking."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from django.utils import timezone

from tenants.scope import tenant_scope
from tests.journeys.conftest import Enter
from workflows.models import Record, Run, RunVendor

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

    from tenants.models import Tenant

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]

SEEN_WITHIN_S = 1.0
LEAST_SHIFT = 0.001  # a word that makes room for one more digit before it; browsers call 0.1 good
# Notes the time at which the headline changes, and every shift of the layout that no click or key explains.
WATCH = """() => {
  window.seen = []; window.shifts = [];
  const line = document.querySelector('[data-announce]');
  new MutationObserver(() => window.seen.push([Date.now() / 1000, line.textContent]))
    .observe(line, {childList: true, characterData: true, subtree: true});
  new PerformanceObserver(list => list.getEntries().forEach(entry => {
    if (!entry.hadRecentInput) window.shifts.push(entry.value);
  })).observe({type: 'layout-shift'});
}"""
Change = Callable[..., float]


@pytest.fixture
def run(committed: None, tenant: "Tenant") -> Run:
    """A run of forty contacts that only the test moves."""
    from tests.factories import connect_all, make_run

    connect_all(tenant)
    return make_run(tenant, 40, name="October leads.csv")


@pytest.fixture
def change(tenant: "Tenant", run: Run) -> Change:
    """`change(found=3)`: commit other values of the run; returns the time of the commit."""

    def committed_at(**values: Any) -> float:
        with tenant_scope(tenant):
            Run.objects.filter(pk=run.pk).update(**values)
        return time.time()

    return committed_at


@pytest.fixture
def page(enter: Enter, run: Run, change: Change) -> "Page":
    opened = enter().page
    change(status="running", started_at=timezone.now(), running=10, queued=30)
    opened.goto(f"/app/runs/{run.pk}/")
    opened.evaluate(WATCH)
    return opened


def headline(page: "Page", words: str) -> "Locator":
    return page.locator("[data-announce]", has_text=words)


def asked_within(page: "Page", seconds: float) -> int:
    """How many requests the page makes in that time."""
    made: list[str] = []
    page.on("request", lambda request: made.append(request.url))
    page.wait_for_timeout(seconds * 1000)
    return len(made)


def test_a_commit_is_on_the_page_within_a_second(page: "Page", change: Change):
    for number in range(1, 11):
        committed = change(found=number, running=10, queued=30 - number, pending=40 - number)
        page.wait_for_function("words => document.querySelector('[data-announce]').textContent.startsWith(words)",
                               arg=f"{number} of 40 found")  # fmt: skip
        page.wait_for_timeout(37 * number)  # not always at the same moment between two looks
        seen = next(
            at for at, words in page.evaluate("window.seen") if words.startswith(f"{number} of 40 found")
        )
        assert seen - committed < SEEN_WITHIN_S


def test_nothing_moves_but_what_changed(page: "Page", tenant: "Tenant", run: Run, change: Change):
    page.evaluate("document.querySelectorAll('#run *').forEach(part => { part.sameAsBefore = true; })")
    page.get_by_role("button", name="Pause").focus()
    page.get_by_text("Download", exact=True).click()
    page.get_by_role("button", name="Pause").focus()
    with tenant_scope(tenant):
        RunVendor.objects.create(run=run, provider="prospeo", operation="find", calls=3, hits=1, misses=2)
        Record.objects.filter(run=run, position=2).update(status="running")
    change(found=1, running=9)
    headline(page, "1 of 40 found").wait_for()
    assert page.evaluate("document.activeElement.id") == "pause-run"
    assert page.locator("details.menu[open]", has_text="Download").count() == 1, "an open menu stays open"
    untouched = page.evaluate(
        "[...document.querySelectorAll('#r1 *, #r3 *, .actions *')].every(part => part.sameAsBefore)"
    )
    assert untouched, "what did not change was not replaced"
    change(found=2, running=8)
    headline(page, "2 of 40 found").wait_for()
    assert page.locator("#r2 .pill").inner_text() == "Running", (
        "rows that did not change are kept as they are"
    )
    assert page.locator("#rows tbody tr").count() == 40


def test_a_change_of_counts_shifts_nothing(page: "Page", change: Change):
    places = "[...document.querySelectorAll('section, .tabs a, .stat, .btn, tr')].map(x => x.getBoundingClientRect().y)"
    before = page.evaluate(places)
    for number in (1, 12, 25):
        change(found=number, not_found=number // 2, running=10, queued=30 - number)
        page.wait_for_function("words => document.querySelector('[data-announce]').textContent.startsWith(words)",
                               arg=f"{number} of 40 found")  # fmt: skip
    page.wait_for_timeout(500)
    assert page.evaluate(places) == before
    assert sum(page.evaluate("window.shifts")) < LEAST_SHIFT


def test_a_hidden_tab_asks_nothing_and_catches_up_when_it_is_seen_again(page: "Page", change: Change):
    page.evaluate(
        """() => {
             Object.defineProperty(document, 'hidden', {configurable: true, get: () => window.away});
             window.away = true;
           }"""
    )
    page.wait_for_timeout(500)
    assert asked_within(page, 1.5) == 0
    change(found=7)
    page.evaluate("() => { window.away = false; document.dispatchEvent(new Event('visibilitychange')); }")
    headline(page, "7 of 40 found").wait_for(timeout=1000)


def test_the_page_asks_at_least_twice_a_second_while_the_run_goes_on(page: "Page"):
    assert 4 <= asked_within(page, 2.5) <= 8


def test_the_page_stops_asking_when_the_run_has_ended(page: "Page", change: Change):
    change(status="completed", found=40, running=0, queued=0, pending=0, finished_at=timezone.now())
    page.locator(".pill", has_text="Completed").wait_for()
    page.wait_for_timeout(600)
    assert asked_within(page, 1.5) == 0
    assert page.locator("#announcer").inner_text() == "40 of 40 found"


def test_what_is_said_aloud_is_not_said_at_every_count(page: "Page", change: Change):
    page.evaluate(
        """() => { window.said = 0; new MutationObserver(() => { window.said += 1; })
             .observe(document.getElementById('announcer'), {childList: true}); }"""
    )
    for number in range(1, 6):
        change(found=number)
        headline(page, f"{number} of 40 found").wait_for()
    assert page.evaluate("window.said") == 1


def test_a_cut_line_is_said_and_mends_by_itself(page: "Page", change: Change):
    note = page.get_by_text("The connection to Weir is cut")
    page.route("**/live/**", lambda route: route.abort())
    note.wait_for()
    change(found=5)
    page.unroute("**/live/**")
    headline(page, "5 of 40 found").wait_for()
    assert not note.is_visible()


def test_a_session_that_ended_leads_to_sign_in_and_back(page: "Page", run: Run):
    page.context.clear_cookies()
    page.wait_for_url("**/accounts/login/?next=/app/runs/**")


def test_home_shows_a_run_that_moves(page: "Page", change: Change):
    page.goto("/app/")
    change(found=9)
    page.get_by_text("9 of 40 found").wait_for(timeout=4000)
