"""A browser, a live server, and an engine that works in the test's own process."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.journeys.browser import FLAGS, Person, chromium

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tenants.models import Tenant
    from tests.sandbox import Sandbox

OWNER = "owner@acme.example"
Enter = Callable[..., Person]


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    path = chromium()
    from playwright.sync_api import sync_playwright

    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        # The browser's own event loop runs in this thread; the tests use the database beside it, never inside it.
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
        opened = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield opened
        opened.close()


@pytest.fixture
def enter(browser: "Browser", committed: None, live_server: Any, tenant: "Tenant") -> Iterator[Enter]:
    """`enter(**context options)`: the tenant's owner, signed in. Errors in the browser's console fail the test."""
    from tests.factories import PASSWORD

    people: list[Person] = []

    def entered(**options: Any) -> Person:
        person = Person(browser, live_server.url, **options)
        people.append(person)
        person.sign_in(OWNER, PASSWORD)
        return person

    yield entered
    for person in people:
        person.close()
    assert [problem for person in people for problem in person.problems] == []


@pytest.fixture
def vendors(committed: None, sandbox: "Sandbox", connect: Callable[..., Any]) -> "Sandbox":
    """The vendors of the email waterfall; Prospeo takes 20 calls a second, so that a run can be watched."""
    windows = {"prospeo": [{"rate": 20, "period": 1}]}
    for provider in ("prospeo", "findymail", "zerobounce"):
        limits = {"windows": windows.get(provider, []), "parallelism": 10}
        connect(provider, secret=f"key-{provider}", mode="sandbox", **limits)
        enforced = limits["windows"] or [{"rate": 100_000, "period": 1}]
        sandbox.set_key(provider, f"key-{provider}", windows=enforced, parallelism=10)
    return sandbox


@pytest.fixture
def engine(committed: None) -> Iterator[Any]:
    """A runner of this process: what is started in the browser is really carried out."""
    from workflows.lanes.runner import Runner

    runner = Runner()
    runner.start()
    yield runner
    runner.stop()
