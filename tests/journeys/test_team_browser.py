"""A team in real browsers: invited, accepted, given another role, removed; by keyboard, on a phone, without script."""

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from django.core import mail

from tests.factories import PASSWORD, make_user
from tests.journeys.browser import Person, has_horizontal_scroll
from tests.journeys.conftest import Enter

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from tenants.models import Tenant

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

NEW = "ada@new.example"
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


@pytest.fixture
def visit(browser: "Browser", committed: None, live_server: Any) -> Iterator[Callable[..., Person]]:
    """`visit(**context options)`: somebody who is not signed in."""
    people: list[Person] = []

    def visited(**options: Any) -> Person:
        people.append(Person(browser, live_server.url, **options))
        return people[-1]

    yield visited
    for person in people:
        person.close()
    assert [problem for person in people for problem in person.problems] == []


def invite(page: "Page", email: str, role: str = "Editor") -> None:
    page.goto("/app/team/")
    page.get_by_role("link", name="Invite somebody").click()
    page.get_by_label("E-mail").fill(email)
    page.get_by_role("radio", name=re.compile(f"^{role}")).check()
    page.get_by_role("button", name="Send invitation").click()
    page.get_by_role("heading", name=f"{email} is invited as {role.lower()}").wait_for()


def mailed_link() -> str:
    """The path of the link in the mail that went out last."""
    found = re.search(r"^https?://[^/\s]+(/invitations/\S+)$", str(mail.outbox[-1].body), re.MULTILINE)
    assert found
    return found.group(1)


def test_invited_accepted_given_another_role_and_removed(enter: Enter, visit: Callable[..., Person]):
    boss = enter().page
    invite(boss, NEW)
    assert "/invitations/" in boss.locator("#plain-link").inner_text()

    guest = visit().page
    guest.goto(mailed_link())
    guest.get_by_role("heading", name="Join “Acme”").wait_for()
    guest.get_by_role("link", name="Make an account").click()
    assert guest.get_by_label("E-mail").input_value() == NEW
    guest.get_by_label("Your name").fill("Ada Byron")
    guest.get_by_label("Password").fill(PASSWORD)
    guest.get_by_role("button", name="Make account").click()
    guest.get_by_role("button", name="Accept invitation").click()
    guest.wait_for_url("**/app/")
    guest.get_by_text("You belong to Acme now, as editor.").wait_for()
    guest.goto("/app/runs/new/")
    guest.get_by_role("button", name="Upload and check columns").wait_for()

    boss.goto("/app/team/")
    boss.get_by_role("heading", name="2 people", exact=True).wait_for()
    boss.locator(".role-menu summary", has_text="Editor").click()
    boss.get_by_role("button", name=re.compile("^Viewer")).click()
    boss.get_by_text(f"{NEW} is a viewer now.").wait_for()
    guest.goto("/app/runs/new/")
    guest.get_by_text("you are viewer of Acme").wait_for()

    boss.locator(".role-menu summary").click()
    boss.get_by_role("link", name="Remove from the team").click()
    boss.get_by_role("heading", name=f"Remove {NEW} from Acme?").wait_for()
    boss.get_by_role("button", name="Remove").click()
    boss.get_by_text(f"{NEW} does not belong to the team any more.").wait_for()
    boss.get_by_role("heading", name="1 person", exact=True).wait_for()
    guest.goto("/app/")
    guest.wait_for_url("**/accounts/workspace/")


def test_somebody_else_signs_out_and_comes_back_as_who_is_meant(
    enter: Enter, visit: Callable[..., Person], tenant: "Tenant"
):
    from tenants.operations.people import create_user

    eve = make_user(tenant, role="viewer", email="eve@acme.example")
    create_user(email=NEW, password=PASSWORD)
    invite(enter().page, NEW, "Viewer")
    person = visit()
    page = person.sign_in(eve.email, PASSWORD)
    page.goto(mailed_link())
    page.get_by_text("This invitation is for somebody else").wait_for()
    page.get_by_role("button", name="Sign out and come back here").click()
    page.get_by_role("link", name="Sign in").click()
    page.get_by_label("E-mail").fill(NEW)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.get_by_role("button", name="Accept invitation").click()
    page.get_by_text("You belong to Acme now, as viewer.").wait_for()


def test_a_role_is_changed_by_keyboard_alone(enter: Enter, tenant: "Tenant"):
    make_user(tenant, role="viewer", email="zoe@acme.example")
    page = enter().page
    page.goto("/app/team/")
    summary = page.locator(".role-menu summary")
    summary.focus()
    page.keyboard.press("Enter")
    page.get_by_role("button", name=re.compile("^Editor")).wait_for()
    page.keyboard.press("Escape")
    assert page.locator(".role-menu[open]").count() == 0
    assert summary.evaluate("element => element === document.activeElement")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.get_by_text("zoe@acme.example is an editor now.").wait_for()


def test_handed_over_the_former_owner_stays_admin(enter: Enter, tenant: "Tenant"):
    make_user(tenant, role="admin", email="heir@acme.example")
    page = enter().page
    page.goto("/app/team/")
    page.get_by_role("link", name="Hand over to another admin").click()
    page.get_by_role("radio", name="heir@acme.example").check()
    page.get_by_label(re.compile("^Type “Acme”")).fill("acme")
    page.get_by_role("button", name="Hand over").click()
    page.locator("#form-errors").get_by_text("This is not the name.").wait_for()
    assert page.get_by_role("radio", name="heir@acme.example").is_checked()
    page.get_by_label(re.compile("^Type “Acme”")).fill("Acme")
    page.get_by_role("button", name="Hand over").click()
    page.get_by_text("heir@acme.example owns Acme now. You are an admin of it.").wait_for()
    assert page.get_by_role("link", name="Hand over to another admin").count() == 0
    assert sorted(message.to[0] for message in mail.outbox) == ["heir@acme.example", "owner@acme.example"]


def test_without_script_people_are_invited_and_roles_changed(enter: Enter, tenant: "Tenant"):
    make_user(tenant, role="viewer", email="zoe@acme.example")
    page = enter(java_script_enabled=False).page
    invite(page, NEW)
    page.goto("/app/team/")
    page.locator(".role-menu summary").click()
    page.get_by_role("button", name=re.compile("^Admin")).click()
    page.get_by_text("zoe@acme.example is an admin now.").wait_for()
    page.get_by_role("button", name=f"Revoke the invitation of {NEW}").click()
    page.get_by_text("Nobody is invited at the moment.").wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_nothing_is_cut_off_and_targets_are_large(enter: Enter, tenant: "Tenant", scheme: str):
    make_user(tenant, role="admin", email=f"{'long.' * 12}name@department.subsidiary.acme.example")
    page = enter(**PHONE, color_scheme=scheme).page
    invite(page, NEW)
    assert not has_horizontal_scroll(page)
    for path in ("/app/team/", "/app/team/transfer/", "/app/team/leave/", "/app/settings/"):
        page.goto(path)
        assert not has_horizontal_scroll(page), path
    page.goto("/app/team/")
    page.locator(".role-menu summary").click()
    assert not has_horizontal_scroll(page)
    box = page.locator(".role-menu .menu-box").bounding_box()
    assert box
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 390
    for target in page.locator(
        "main .btn:visible, .role-menu summary:visible, .role-menu button:visible"
    ).all():
        place = target.bounding_box()
        assert place
        assert place["height"] >= 40, target.inner_text()
