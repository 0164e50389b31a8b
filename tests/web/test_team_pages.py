"""The team's pages: who sees what, inviting, roles, going, and handing over."""

import re
import uuid
from typing import Any

import pytest
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tenants.models import Invitation, Membership, Tenant, User
from tenants.operations import invitations
from tenants.operations.keys import create_api_key
from tenants.operations.people import create_user
from tenants.queries import tenants_of
from tenants.scope import tenant_scope
from tests.factories import ACTOR, PASSWORD, make_user
from tests.web.conftest import SignIn

NEW = "ada@new.example"


def text_of(answer: Any) -> str:
    return answer.content.decode()


def part_of(text: str, pattern: str) -> str:
    found = re.search(pattern, text, re.MULTILINE)
    assert found, pattern
    return found.group(1)


def membership(tenant: Tenant, user: User) -> Any:
    with tenant_scope(tenant):
        return Membership.objects.filter(user=user).first()


def path_of(tenant: Tenant, user: User, what: str) -> str:
    return f"/app/team/{membership(tenant, user).pk}/{what}/"


def signed_in(user: User, *, ago: float = 0) -> Client:
    """A browser in which the person gave their password so many seconds ago."""
    client = Client()
    client.post("/accounts/login/", {"login": user.email, "password": PASSWORD})
    session = client.session
    session["account_authentication_methods"][0]["at"] -= ago
    session.save()
    return client


@pytest.fixture
def zoe(tenant: Tenant) -> User:
    return make_user(tenant, role="viewer", email="zoe@acme.example")


# --- What is shown to whom


def test_a_viewer_sees_the_members_and_nothing_to_press(
    tenant: Tenant, owner: User, viewer: Client, zoe: User
):
    with tenant_scope(tenant):
        invitations.invite(email=NEW, role="viewer", invited_by=owner, actor=ACTOR)
    page = text_of(viewer.get("/app/team/"))
    assert "<h1>3 people</h1>" in page
    assert owner.email in page
    assert zoe.email in page
    assert "Leave Acme" in page
    for hidden in (NEW, "Invite somebody", "Second factor", "/role/", "/remove/", "Hand over to"):
        assert hidden not in page


def test_an_admin_sees_who_is_invited_and_whether_a_mail_was_taken(
    tenant: Tenant, owner: User, admin: Client
):
    with tenant_scope(tenant):
        invitations.invite(email=NEW, role="editor", invited_by=owner, actor=ACTOR)
    page = text_of(admin.get("/app/team/"))
    assert "<h1>1 person, 1 invited</h1>" in page
    assert NEW in page
    assert "The mail was not taken" in page
    with tenant_scope(tenant):
        Invitation.objects.update(expires_at=Invitation.objects.get().created_at)
    page = text_of(admin.get("/app/team/"))
    assert "<h1>1 person</h1>" in page
    assert "Expired" in page


def test_the_owner_and_oneself_have_no_role_menu(tenant: Tenant, sign_in: SignIn, owner: User, zoe: User):
    other = make_user(tenant, role="admin")
    page = text_of(sign_in(other).get("/app/team/"))
    assert path_of(tenant, zoe, "role") in page
    assert path_of(tenant, owner, "role") not in page
    assert path_of(tenant, other, "role") not in page
    assert "/app/team/transfer/" not in page


def test_names_are_text_wherever_they_are_shown(tenant: Tenant, admin: Client, mailoutbox: Any):
    evil = "<script>alert(1)</script>"
    person = make_user(tenant, role="viewer", email="evil@acme.example")
    User.objects.filter(pk=person.pk).update(name=evil)
    with tenant_scope(tenant):
        Tenant.objects.filter(pk=tenant.pk).update(name=evil)
        create_api_key(name=evil, actor=ACTOR, created_by=person)
    pages = [
        "/app/team/",
        "/app/team/invite/",
        "/app/team/leave/",
        "/app/settings/",
        path_of(tenant, person, "remove"),
    ]
    for url in pages:
        page = text_of(admin.get(url))
        assert evil not in page, url
        assert "&lt;script&gt;" in page, url
    sent = text_of(admin.post("/app/team/invite/", {"email": NEW, "role": "viewer"}))
    link = part_of(sent, r'id="plain-link">(\S+?)<')
    assert evil not in text_of(Client().get(link))


@pytest.mark.parametrize(
    ("domain", "other"),
    [
        ("\u0430cme.example", "xn--cme-5cd.example"),  # its first letter is Cyrillic
        ("xn--cme-5cd.example", "\u0430cme.example"),
        ("m\u00fcller.example", "xn--mller-kva.example"),
        ("xn--a.example", ""),
        ("acme.example", ""),
    ],
)
def test_a_domain_in_letters_that_look_like_ours_is_spelled_out(
    tenant: Tenant, owner: User, admin: Client, domain: str, other: str
):
    member = make_user(tenant, role="admin", email=f"zoe@{domain}")
    with tenant_scope(tenant):
        Invitation.objects.filter(email=NEW).delete()
        invitations.invite(email=f"ada@{domain}", role="viewer", invited_by=owner, actor=ACTOR)
    line = f'<span class="sub">The domain is {other}</span>'
    pages = {
        text_of(admin.get("/app/team/")): 2,
        text_of(admin.get(path_of(tenant, member, "remove"))): 1,
    }
    for page, times in pages.items():
        assert page.count(line) == (times if other else 0)
        assert ("The domain is" in page) == bool(other)
    handing = text_of(signed_in(owner).get("/app/team/transfer/"))
    assert (f"the domain is {other}" in handing) == bool(other)


def test_a_team_of_fifty_costs_no_more_queries_than_one_of_five(tenant: Tenant, owner: User, admin: Client):
    from django.db import connection

    def spent() -> int:
        with CaptureQueriesContext(connection) as queries:
            assert admin.get("/app/team/").status_code == 200
        return len(queries)

    def grow(number: int) -> None:
        with tenant_scope(tenant):
            for _ in range(number):
                Membership.objects.create(
                    user=create_user(email=f"{uuid.uuid4()}@acme.example", password=None)
                )
                Invitation.objects.create(
                    email=f"{uuid.uuid4()}@new.example", digest=uuid.uuid4().bytes * 2, invited_by=owner,
                    expires_at="2100-01-01T00:00:00Z",
                )  # fmt: skip

    grow(3)
    spent()
    few = spent()
    grow(30)
    assert spent() <= few


# --- Inviting


def test_the_link_is_shown_once_and_the_mail_has_one_of_its_own(
    tenant: Tenant, admin: Client, mailoutbox: Any
):
    answer = admin.post("/app/team/invite/", {"email": " Ada@New.Example ", "role": "editor"})
    assert answer.status_code == 200
    page = text_of(answer)
    assert f"{NEW} is invited as editor" in page
    shown = part_of(page, r"/invitations/([\w.-]+)/")
    mailed = part_of(mailoutbox[0].body, r"^https?://\S+/invitations/([\w.-]+)/$")
    assert mailed.startswith(shown)
    assert invitations.came_by_mail(mailed)
    assert not invitations.came_by_mail(shown)
    assert mailed not in page
    assert shown not in text_of(admin.get("/app/team/"))
    assert shown not in text_of(admin.get("/app/team/invite/"))


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({"email": "", "role": "editor"}, "Give the address of whom you invite."),
        ({"email": "ada", "role": "editor"}, "Give one e-mail address"),
        ({"email": NEW, "role": "owner"}, "Choose a role."),
        ({"email": NEW}, "Choose a role."),
        ({"email": "owner@acme.example", "role": "editor"}, "belongs to Acme already"),
    ],
)
def test_what_is_wrong_is_said_beside_the_field_and_the_input_kept(
    admin: Client, mailoutbox: Any, form: dict[str, str], words: str
):
    answer = admin.post("/app/team/invite/", form)
    assert answer.status_code == 422
    assert text_of(answer).count(words) == 2, "in the summary and beside the field"
    assert f'value="{form["email"]}"' in text_of(answer) or not form["email"]
    assert mailoutbox == []


def test_a_mail_that_was_not_taken_is_said_and_the_link_shown(
    tenant: Tenant, admin: Client, monkeypatch: pytest.MonkeyPatch
):
    from django.core.mail.backends.locmem import EmailBackend

    def away(self, messages):
        raise ConnectionRefusedError

    monkeypatch.setattr(EmailBackend, "send_messages", away)
    page = text_of(admin.post("/app/team/invite/", {"email": NEW, "role": "editor"}))
    assert "the mail was not taken" in page
    assert "/invitations/" in page
    assert "The mail was not taken. Send it again." in text_of(admin.get("/app/team/"))


def test_sending_again_shows_and_mails_a_new_link(
    tenant: Tenant, owner: User, admin: Client, mailoutbox: Any
):
    with tenant_scope(tenant):
        first = invitations.invite(email=NEW, role="editor", invited_by=owner, actor=ACTOR)
    page = text_of(admin.post(f"/app/team/invitations/{first.invitation.pk}/resend/"))
    shown = part_of(page, r"/invitations/([\w.-]+)/")
    assert invitations.find_open(first.token) is None
    assert invitations.find_open(shown) is not None
    assert [mail.to for mail in mailoutbox] == [[NEW]]
    answer = admin.post(f"/app/team/invitations/{first.invitation.pk}/resend/", follow=True)
    assert "taken back or replaced already" in text_of(answer)


def test_a_revoked_invitation_is_gone_from_the_list(tenant: Tenant, owner: User, admin: Client):
    with tenant_scope(tenant):
        invited = invitations.invite(email=NEW, role="editor", invited_by=owner, actor=ACTOR)
    answer = admin.post(f"/app/team/invitations/{invited.invitation.pk}/revoke/", follow=True)
    assert "its link is dead" in text_of(answer)
    assert "Nobody is invited at the moment." in text_of(answer)
    assert invitations.find_open(invited.token) is None


# --- Roles and going


def test_a_role_bites_at_the_next_request(tenant: Tenant, admin: Client, sign_in: SignIn, zoe: User):
    theirs = sign_in(zoe)
    assert theirs.get("/app/runs/new/").status_code == 403
    answer = admin.post(path_of(tenant, zoe, "role"), {"role": "editor"}, follow=True)
    assert "zoe@acme.example is an editor now." in text_of(answer)
    assert theirs.get("/app/runs/new/").status_code == 200
    admin.post(path_of(tenant, zoe, "role"), {"role": "viewer"})
    assert theirs.get("/app/runs/new/").status_code == 403


@pytest.mark.parametrize("role", ["owner", "", "root"])
def test_nobody_is_made_owner_through_the_menu(tenant: Tenant, admin: Client, zoe: User, role: str):
    assert admin.post(path_of(tenant, zoe, "role"), {"role": role}).status_code == 422
    assert membership(tenant, zoe).role == "viewer"


def test_an_admin_neither_demotes_nor_removes_the_owner(tenant: Tenant, owner: User, sign_in: SignIn):
    other = sign_in(make_user(tenant, role="admin"))
    for what, form in (("role", {"role": "viewer"}), ("remove", {})):
        answer = other.post(path_of(tenant, owner, what), form, follow=True)
        assert "and the tenant over" in text_of(answer)
    assert (membership(tenant, owner).role, membership(tenant, owner).is_owner) == ("admin", True)


def test_removing_asks_first_and_names_the_keys_that_stay(tenant: Tenant, admin: Client, zoe: User):
    with tenant_scope(tenant):
        create_api_key(name="CRM sync", actor=ACTOR, created_by=zoe)
    page = text_of(admin.get(path_of(tenant, zoe, "remove")))
    assert "1 API key that they made goes on working" in page
    assert "CRM sync" in page
    assert membership(tenant, zoe) is not None
    admin.post(path_of(tenant, zoe, "remove"))
    assert membership(tenant, zoe) is None


def test_who_is_removed_finds_the_tenant_closed_at_the_next_request(
    tenant: Tenant, other_tenant: Tenant, admin: Client, sign_in: SignIn, zoe: User
):
    theirs = sign_in(zoe)
    assert "Acme" in text_of(theirs.get("/app/"))
    with tenant_scope(other_tenant):
        Membership.objects.create(user=zoe, role="viewer")
    theirs.post("/app/settings/tenant/", {"tenant": str(tenant.pk)})
    admin.post(path_of(tenant, zoe, "remove"))
    page = text_of(theirs.get("/app/"))
    assert "Globex" in page
    assert "Acme" not in page
    with tenant_scope(other_tenant):
        Membership.objects.filter(user=zoe).delete()
    assert theirs.get("/app/")["Location"] == "/accounts/workspace/"


def test_who_leaves_is_asked_first_and_then_out(tenant: Tenant, sign_in: SignIn, zoe: User):
    theirs = sign_in(zoe)
    assert "Leave Acme?" in text_of(theirs.get("/app/team/leave/"))
    assert membership(tenant, zoe) is not None
    assert theirs.post("/app/team/leave/")["Location"] == "/app/"
    assert membership(tenant, zoe) is None
    assert theirs.get("/app/")["Location"] == "/accounts/workspace/"


def test_the_owner_is_told_why_they_cannot_leave(tenant: Tenant, owner: User, admin: Client):
    assert "An owner cannot leave" in text_of(admin.get("/app/team/leave/"))
    assert "Hand the tenant over" in text_of(admin.post("/app/team/leave/", follow=True))
    assert membership(tenant, owner).is_owner


# --- Handing over


def test_handing_over_takes_a_recent_sign_in_an_admin_and_the_name(tenant: Tenant, owner: User, zoe: User):
    heir = make_user(tenant, role="admin", email="heir@acme.example")
    form = {"member": str(membership(tenant, heir).pk), "name": "Acme"}
    stale, admin = signed_in(owner, ago=3600), signed_in(owner)
    for answer in (stale.get("/app/team/transfer/"), stale.post("/app/team/transfer/", form)):
        assert answer.status_code == 302
        assert answer["Location"].startswith("/accounts/reauthenticate/?next=")
    assert membership(tenant, owner).is_owner

    page = text_of(admin.get("/app/team/transfer/"))
    assert "heir@acme.example" in page
    assert zoe.email not in page
    for wrong in (
        {"member": form["member"], "name": "acme"}, {"member": form["member"], "name": ""}, {"name": "Acme"},
        {"member": str(membership(tenant, zoe).pk), "name": "Acme"}, {"member": "x", "name": "Acme"},
        {"member": str(uuid.uuid4()), "name": "Acme"},
    ):  # fmt: skip
        assert admin.post("/app/team/transfer/", wrong).status_code == 422
    assert membership(tenant, owner).is_owner

    answer = admin.post("/app/team/transfer/", form, follow=True)
    assert "heir@acme.example owns Acme now. You are an admin of it." in text_of(answer)
    assert membership(tenant, heir).is_owner
    assert admin.get("/app/team/transfer/").status_code == 403


def test_an_admin_who_is_not_the_owner_hands_nothing_over(tenant: Tenant, owner: User):
    heir = make_user(tenant, role="admin")
    theirs = signed_in(heir)
    form = {"member": str(membership(tenant, heir).pk), "name": "Acme"}
    assert theirs.get("/app/team/transfer/").status_code == 403
    assert theirs.post("/app/team/transfer/", form).status_code == 403
    assert membership(tenant, owner).is_owner


def test_without_another_admin_the_page_says_what_to_do_first(owner: User, zoe: User):
    assert "There is no other admin" in text_of(signed_in(owner).get("/app/team/transfer/"))


# --- The tenant's name


def test_an_admin_renames_the_tenant(tenant: Tenant, admin: Client, owner: User):
    answer = admin.post("/app/settings/name/", {"name": "  Acme   Ltd "}, follow=True)
    assert "The tenant is called “Acme Ltd” now." in text_of(answer)
    assert tenants_of(owner.pk)[0].tenant_name == "Acme Ltd"


@pytest.mark.parametrize("name", ["", "   ", "x" * 121, "A\x07b"])
def test_a_name_that_cannot_be_is_refused_beside_the_field(admin: Client, owner: User, name: str):
    answer = admin.post("/app/settings/name/", {"name": name})
    assert answer.status_code == 422
    assert 'id="id_name_error"' in text_of(answer)
    assert tenants_of(owner.pk)[0].tenant_name == "Acme"
