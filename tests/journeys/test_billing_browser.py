"""A newcomer clicks through an upgrade in a browser: our pages, the double's pages, and back."""

import threading
from typing import Any

import pytest
from django.conf import settings
from django.db import connections

from tests.factories import PASSWORD
from tests.journeys.browser import Person, has_horizontal_scroll

pytestmark = pytest.mark.browser


def work(rig: Any) -> None:
    """As a worker: in a thread of its own, as the browser's is an event loop."""
    rig.deliver()
    connections.close_all()


def test_an_upgrade_is_clicked_through(
    browser: Any, live_server: Any, rig: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(settings, "BASE_URL", live_server.url)
    monkeypatch.setitem(
        settings.CONTENT_POLICY_OF, "/app/billing/", {"form-action": [rig.double.process.url]}
    )
    person = Person(browser, live_server.url, viewport={"width": 390, "height": 800})
    page = person.sign_in(rig.owner.email, PASSWORD)
    page.goto("/app/billing/")
    assert not has_horizontal_scroll(page)
    page.get_by_text("No real card is charged").wait_for()
    page.get_by_role("link", name="Upgrade to Pro").click()
    page.get_by_role("button", name="Go on to payment").click()
    page.get_by_text("This is not Stripe").wait_for()
    assert not has_horizontal_scroll(page)
    page.get_by_label("declined when it is entered").check()
    page.get_by_role("button", name="Subscribe").click()
    page.get_by_text("Your card was declined").wait_for()
    page.get_by_label("always pays").check()
    page.get_by_role("button", name="Subscribe").click()
    page.get_by_role("heading", name="Paid. Your plan changes in a moment").wait_for()
    # The webhook comes, and a worker handles it: the page finds out by itself.
    worker = threading.Thread(target=work, args=[rig])
    worker.start()
    worker.join()
    page.get_by_role("heading", name="Your plan is Pro now").wait_for()
    page.get_by_role("link", name="See billing").click()
    page.get_by_role("heading", name="Pro, paid until").wait_for()
    page.get_by_role("button", name="Card, invoices, cancel").click()
    page.get_by_role("button", name="Cancel at the end of the period").click()
    page.get_by_role("link", name="Back to Weir").click()
    page.get_by_role("heading", name="Pro, paid until").wait_for()
    assert [problem for problem in person.problems if "402" not in problem] == []
    person.close()
