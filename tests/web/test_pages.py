"""Every page, with nothing in the tenant and with something: it renders, has one heading, labels, and no inline code."""

import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.staticfiles import finders
from django.test import Client

from workflows.web.urls import urlpatterns

if TYPE_CHECKING:
    from tenants.models import Tenant
    from workflows.models import Run

PLAIN = [
    "/app/",
    "/app/runs/",
    "/app/runs/new/",
    "/app/failed/",
    "/app/vendors/",
    "/app/vendors/new/",
    "/app/workflows/",
    "/app/workflows/email-waterfall/",
    "/app/insights/",
    "/app/insights/?mode=sandbox",
    "/app/usage/",
    "/app/usage/?period=2020-01",
    "/app/developers/",
    "/app/developers/webhooks/",
    "/app/settings/",
    "/app/settings/audit/",
    "/app/settings/limit/",
    "/app/settings/suppressions/",
    "/app/settings/suppressions/?q=x.example",
    "/app/billing/",
    "/app/ambiguous/",
    "/app/ambiguous/?status=open&vendor=findymail",
    "/app/settings/leave/",
    "/app/team/",
    "/app/team/leave/",
    "/app/design/",
]
OWNERS = ["/app/settings/leave/delete/", "/app/team/transfer/"]
# Fragments, files, and what answers to a form alone.
PARTS = {
    "/app/home/recent/",
    "/app/settings/audit.csv",
    "/app/settings/suppressions.csv",
    "/app/ambiguous/decide/",
    "/app/billing/plan/",  # needs a plan that is sold: tests/web/test_billing.py, as the next ones
    "/app/billing/portal/",
    "/app/billing/return/",
    "/app/billing/return/live/",
    "/app/developers/webhooks/callbacks/",
    "/app/settings/leave/export/",
    "/app/settings/leave/live/",
    "/app/settings/name/",
    "/app/settings/tenant/",
    "/app/settings/theme/",
    "/app/team/invite/",
    "/app/vendors/sandbox/",
}
ACCOUNT = [
    "/accounts/logout/",
    "/accounts/password/change/",
    "/accounts/email/",
    "/accounts/sessions/",
    "/accounts/reauthenticate/",
    "/accounts/2fa/",
    "/accounts/2fa/totp/activate/",
    "/accounts/2fa/webauthn/",
    "/accounts/2fa/webauthn/add/",
]
FIRST_VIEW_BYTES = 150_000


class Page(HTMLParser):
    """What a page is made of, as far as the rules here ask."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.headings: list[int] = []
        self.inline: list[str] = []
        self.fields: list[dict[str, str | None]] = []
        self.labels: set[str] = set()
        self.ids: list[str] = []
        self.referred: list[str] = []
        self._in_label = 0
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.inline += [f"<{tag} {name}>" for name, _ in attrs if name == "style" or name.startswith("on")]
        if tag == "style" or (tag == "script" and "src" not in given):
            self.inline.append(f"<{tag}>")
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if given.get("id"):
            self.ids.append(given["id"] or "")
        if tag == "label":
            self._in_label += 1
            self.labels.add(given.get("for") or "")
        if tag in ("input", "select", "textarea") and given.get("type") not in ("hidden", "submit"):
            self.fields.append(given | ({"wrapped": "1"} if self._in_label else {}))
        for name in ("aria-labelledby", "aria-describedby"):
            self.referred += (given.get(name) or "").split()

    def handle_endtag(self, tag: str) -> None:
        if tag == "label":
            self._in_label -= 1

    def unlabelled(self) -> list[dict[str, str | None]]:
        return [
            field
            for field in self.fields
            if not (field.get("wrapped") or field.get("aria-label") or field.get("id") in self.labels)
        ]


def assert_sound(html: str) -> Page:
    page = Page(html)
    assert page.headings.count(1) == 1, "a page has one main heading"
    assert page.headings[0] == 1
    jumps = [
        (one, other) for one, other in zip(page.headings, page.headings[1:], strict=False) if other > one + 1
    ]
    assert not jumps, "no level of headings is left out"
    assert page.inline == [], "the content policy would block these"
    assert page.unlabelled() == []
    assert len(page.ids) == len(set(page.ids)), "an id names one element"
    assert set(page.referred) <= set(page.ids), "what describes an element is on the page"
    assert "{{" not in html
    assert "{%" not in html
    return page


@pytest.mark.parametrize("path", PLAIN)
def test_a_page_of_an_empty_tenant_is_sound(admin: Client, path: str):
    answer = admin.get(path)
    assert answer.status_code == 200
    assert_sound(answer.content.decode())


@pytest.mark.parametrize("path", PLAIN)
def test_a_page_of_a_tenant_with_a_run_is_sound(admin: Client, run: "Run", path: str):
    answer = admin.get(path)
    assert answer.status_code == 200
    assert_sound(answer.content.decode())


def test_the_pages_of_a_run_and_its_records_are_sound(admin: Client, run: "Run", first_record: Any):
    for path in (
        f"/app/runs/{run.pk}/",
        f"/app/runs/{run.pk}/records/{first_record}/",
        f"/app/runs/{run.pk}/cancel/",
    ):
        answer = admin.get(path)
        assert answer.status_code == 200
        assert_sound(answer.content.decode())


@pytest.mark.parametrize("path", ["/accounts/login/", "/accounts/password/reset/", "/accounts/signup/"])
def test_a_page_for_strangers_is_sound(db: None, client: Client, path: str):
    answer = client.get(path)
    assert answer.status_code == 200
    assert_sound(answer.content.decode())


@pytest.mark.parametrize("path", OWNERS)
def test_a_page_of_the_owner_is_sound(sign_in: Any, owner: Any, path: str):
    answer = sign_in(owner, confirmed=True).get(path)
    assert answer.status_code == 200
    assert_sound(answer.content.decode())


@pytest.mark.parametrize("path", ACCOUNT)
def test_an_account_page_is_sound(sign_in: Any, owner: Any, path: str):
    answer = sign_in(owner, confirmed=True).get(path)
    assert answer.status_code == 200
    assert_sound(answer.content.decode())


def test_every_page_that_takes_no_object_is_looked_at_here():
    routes = {f"/app/{pattern.pattern}" for pattern in urlpatterns if "<" not in str(pattern.pattern)}
    looked_at = {path.partition("?")[0] for path in PLAIN + OWNERS}
    assert routes - PARTS == looked_at - {"/app/workflows/email-waterfall/"}


def test_a_stranger_is_sent_to_sign_in_and_back(db: None, client: Client):
    answer = client.get("/app/runs/?status=failed")
    assert answer.status_code == 302
    assert answer["Location"] == "/accounts/login/?next=/app/runs/%3Fstatus%3Dfailed"


def test_a_fragment_asked_by_a_stranger_reloads_the_page(run: "Run", client: Client):
    answer = client.get(f"/app/runs/{run.pk}/live/", headers={"HX-Request": "true"})
    assert answer["HX-Refresh"] == "true"


def test_the_first_view_weighs_less_than_150_kb(admin: Client, tenant: "Tenant", run: "Run"):
    from tests.factories import make_run

    full = make_run(tenant, 60)
    html = admin.get(f"/app/runs/{full.pk}/").content
    assets = re.findall(rb'(?:href|src)="/static/([^"]+)"', html)
    names = {re.sub(r"\.[0-9a-f]{12}(?=\.)", "", asset.decode()) for asset in assets}
    assert {"weir.css", "weir.js", "htmx.min.js", "favicon.svg"} == names
    weight = len(html)
    for name in names:
        found = finders.find(name)
        assert found
        with open(found, "rb") as asset:  # noqa: PTH123
            weight += len(asset.read())
    assert weight < FIRST_VIEW_BYTES


def test_every_asset_is_served_by_weir(admin: Client, run: "Run"):
    for path in (*PLAIN, f"/app/runs/{run.pk}/"):
        html = admin.get(path).content.decode()
        assert not re.findall(r'(?:src|href|action)="(?:https?:)?//', html)


def test_private_pages_are_stored_by_nobody(admin: Client):
    assert admin.get("/app/")["Cache-Control"] == "no-store"


def test_the_chosen_theme_is_kept(admin: Client):
    answer = admin.post("/app/settings/theme/", {"theme": "dark"}, follow=True)
    assert b'data-theme="dark"' in answer.content
    admin.post("/app/settings/theme/", {"theme": "system"})
    assert b"data-theme" not in admin.get("/app/").content


def test_choosing_a_theme_leads_to_no_other_site(admin: Client):
    answer = admin.post("/app/settings/theme/", {"theme": "dark", "next": "https://evil.example/"})
    assert answer["Location"] == "/app/settings/"


def test_times_are_in_the_viewers_zone(admin: Client, run: "Run"):
    admin.cookies["weir_tz"] = "Asia/Tokyo"
    assert b"JST" in admin.get(f"/app/runs/{run.pk}/").content


@pytest.mark.parametrize(
    "zone", ["../../etc/passwd", "Nowhere/Town", "", "/etc/localtime", "a" * 200, "Europe/../UTC\0"]
)
def test_a_zone_that_is_none_does_no_harm(admin: Client, run: "Run", zone: str):
    admin.cookies["weir_tz"] = zone
    answer = admin.get(f"/app/runs/{run.pk}/")
    assert answer.status_code == 200
    assert b"UTC" in answer.content


@pytest.mark.parametrize(
    ("path", "status"), [("/app/nothing/", 404), ("/app/runs/00000000-0000-7000-8000-000000000000/", 404)]
)
def test_an_error_page_looks_like_weir(admin: Client, path: str, status: int):
    answer = admin.get(path)
    assert answer.status_code == status
    html = answer.content.decode()
    assert_sound(html)
    assert "weir.css" in html


def test_a_fault_of_ours_has_a_page_too(db: None):
    from django.test import RequestFactory
    from django.views.defaults import server_error

    answer = server_error(RequestFactory().get("/app/"))
    assert answer.status_code == 500
    assert_sound(answer.content.decode())
