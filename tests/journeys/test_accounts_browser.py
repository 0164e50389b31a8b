"""An account in a real browser: made, secured with a passkey and an authenticator app, and signed in to with each."""

import re
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value
from django.core import mail

from tests.factories import PASSWORD
from tests.journeys.browser import Person, has_horizontal_scroll
from tests.journeys.conftest import OWNER, Enter

if TYPE_CHECKING:
    from playwright.sync_api import Browser, CDPSession, Page

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


@pytest.fixture
def visit(browser: "Browser", committed: None, live_server: Any) -> Iterator[Callable[..., Person]]:
    """`visit(**context options)`: somebody who is not signed in, by the name that passkeys are made for."""
    people: list[Person] = []

    def visited(**options: Any) -> Person:
        people.append(Person(browser, live_server.url, **options))
        return people[-1]

    yield visited
    for person in people:
        person.close()
    assert [problem for person in people for problem in person.problems] == []


def give_authenticator(person: Person) -> "CDPSession":
    """A built-in authenticator that recognises whoever is asked."""
    session = person.context.new_cdp_session(person.page)
    session.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
    }
    options |= {"isUserVerified": True, "automaticPresenceSimulation": True}
    session.send("WebAuthn.addVirtualAuthenticator", {"options": options})
    return session


def sign_out(page: "Page") -> None:
    page.goto("/accounts/logout/")
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/accounts/login/")


def code_of(secret: str) -> str:
    return format_hotp_value(hotp_value(secret, int(time.time()) // 30))


@pytest.mark.parametrize("options", [{}, PHONE], ids=["desktop", "phone"])
def test_from_nothing_to_a_workspace(visit: Callable[..., Person], options: dict[str, Any]):
    page = visit(**options).page
    page.goto("/accounts/login/")
    page.get_by_role("link", name="Make an account").click()
    page.get_by_label("Your name").fill("Ada Byron")
    page.get_by_label("E-mail").fill("ada@engines.example")
    page.get_by_label("Password").fill("a long enough phrase")
    assert not has_horizontal_scroll(page)
    page.get_by_role("button", name="Make account").click()
    page.get_by_role("heading", name="Enter the code").wait_for()
    found = re.search(r"Weir: (\S+)", str(mail.outbox[-1].body))
    assert found
    page.get_by_label("Code").fill(found[1])
    page.get_by_role("button", name="Continue").click()
    page.get_by_role("heading", name="Name your workspace").wait_for()
    page.get_by_label("Name", exact=True).fill("Analytical Engines")
    page.get_by_role("button", name="Open it").click()
    page.wait_for_url("**/app/")
    assert page.get_by_text("Analytical Engines").first.is_visible()


def test_a_passkey_is_added_and_signs_in_alone(enter: Enter):
    person = enter()
    page = person.page
    give_authenticator(person)
    page.goto("/accounts/2fa/")
    page.get_by_role("link", name="Add a passkey").click()
    page.get_by_label("Name").fill("Work laptop")
    page.get_by_role("button", name="Add passkey").click()
    page.get_by_role("heading", name="Recovery codes").wait_for()
    page.get_by_role("link", name="I have kept them").click()
    page.get_by_text("1 passkey: sign in with").wait_for()

    sign_out(page)
    page.get_by_role("button", name="Use a passkey").click()
    page.wait_for_url("**/app/")

    page.goto("/accounts/2fa/webauthn/")
    page.get_by_text("Work laptop").first.wait_for()
    page.get_by_role("link", name="Rename Work laptop").click()
    page.get_by_label("Name").fill("Old laptop")
    page.get_by_role("button", name="Save").click()
    page.get_by_role("link", name="Remove Old laptop").click()
    page.get_by_role("button", name="Remove").click()
    page.get_by_text("You have none").wait_for()
    sign_out(page)
    page.get_by_role("button", name="Use a passkey").click()
    page.get_by_text(re.compile("not the code|was not used")).first.wait_for()
    assert page.url.endswith("/accounts/login/")


def test_a_passkey_is_the_second_step_after_a_password_and_confirms(enter: Enter):
    person = enter()
    page = person.page
    give_authenticator(person)
    page.goto("/accounts/2fa/webauthn/add/")
    page.get_by_role("button", name="Add passkey").click()
    page.get_by_role("heading", name="Recovery codes").wait_for()
    sign_out(page)
    page.get_by_label("E-mail").fill(OWNER)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.get_by_role("heading", name="One more step").wait_for()
    page.get_by_role("button", name="Use a passkey").click()
    page.wait_for_url("**/app/")
    page.goto("/accounts/2fa/webauthn/reauthenticate/?next=/accounts/sessions/")
    page.get_by_role("button", name="Use a passkey").click()
    page.get_by_role("heading", name="Sessions").wait_for()


def test_without_an_answer_from_the_browser_the_page_says_so(visit: Callable[..., Person], tenant: Any):
    person = visit()
    session = give_authenticator(person)
    session.send("WebAuthn.disable")
    person.page.add_init_script(
        "navigator.credentials.get = () => Promise.reject(new DOMException('no', 'NotAllowedError'))"
    )
    person.page.goto("/accounts/login/")
    person.page.get_by_role("button", name="Use a passkey").click()
    person.page.get_by_text("The passkey was not used").wait_for()


def test_an_authenticator_app_is_set_up_by_key_and_its_codes_kept(enter: Enter, tmp_path: Any):
    person = enter()
    page = person.page
    page.goto("/app/settings/")
    page.get_by_role("link", name="Account and security").first.click()
    page.get_by_role("link", name="Set up an authenticator app").click()
    picture = page.locator(".qr img")
    assert picture.evaluate("image => image.complete && image.naturalWidth > 100"), "the picture is drawn"
    page.get_by_text("Type the key instead").click()
    secret = page.locator("#totp-secret").inner_text().strip()
    page.get_by_label("Code").fill(code_of(secret))
    page.get_by_role("button", name="Turn on").click()
    page.get_by_role("heading", name="Recovery codes").wait_for()
    codes = page.locator("#recovery-codes li").all_inner_texts()
    assert len(codes) == 10
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    download.value.save_as(tmp_path / "codes.txt")
    assert (tmp_path / "codes.txt").read_text().split() == codes

    sign_out(page)
    page.get_by_label("E-mail").fill(OWNER)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.get_by_label("Code").fill(codes[0])
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/app/")
    page.goto("/accounts/2fa/")
    page.get_by_text("9 of 10 left").wait_for()


def test_forms_work_without_script(visit: Callable[..., Person], tenant: Any):
    page = visit(java_script_enabled=False).page
    page.goto("/accounts/login/")
    assert not page.get_by_role("button", name="Use a passkey").is_visible()
    page.get_by_label("E-mail").fill(OWNER)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.wait_for_url("**/app/")
    page.goto("/accounts/sessions/")
    assert page.get_by_text("here and nowhere else").is_visible()
