"""A real browser before a real server, and the things that the journeys do with it."""

import os
import re
import shutil
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage")
PATIENCE_MS = 20_000


def chromium() -> str:
    """The browser's path. Without one the test is skipped, or fails where WEIR_REQUIRE names chromium."""
    for name in NAMES:
        if path := shutil.which(name):
            return path
    words = "No Chromium was found (apt-get install chromium): browser tests cannot run."
    if "chromium" in os.environ.get("WEIR_REQUIRE", ""):
        pytest.fail(words)
    pytest.skip(words)


class Person:
    """Somebody at a browser window; collects what went wrong in it."""

    def __init__(self, browser: "Browser", url: str, **options: Any) -> None:
        self.url = url
        options = {"viewport": {"width": 1280, "height": 800}, "timezone_id": "Europe/Berlin"} | options
        self.context: BrowserContext = browser.new_context(base_url=url, **options)
        self.context.set_default_timeout(PATIENCE_MS)
        self.page: Page = self.context.new_page()
        self.problems: list[str] = []
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("console", self._note)

    def _note(self, message: Any) -> None:
        # Refusals of ours, and lines that a test cuts, are logged by the browser all the same.
        expected = re.search(r"status of (422|413|404|403)|net::ERR_FAILED|htmx:", message.text)
        if message.type == "error" and not expected:
            self.problems.append(message.text)

    def sign_in(self, email: str, password: str) -> "Page":
        page = self.page
        page.goto("/accounts/login/")
        page.get_by_label("E-mail").fill(email)
        page.get_by_label("Password").fill(password)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url("**/app/")
        return page

    def close(self) -> None:
        self.context.close()


def has_horizontal_scroll(page: "Page") -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"))
