"""The page behind an invitation's link: signed out, the right person, somebody else, and too late."""

import re
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.test import Client

from config.masking import scrub
from tenants.middleware import SESSION_KEY
from tenants.models import Tenant, User
from tenants.operations import invitations
from tenants.operations.people import create_user
from tenants.queries import tenants_of
from tenants.scope import tenant_scope
from tests.factories import ACTOR, PASSWORD, make_user
from tests.web.conftest import SignIn

NEW = "ada@new.example"


@pytest.fixture
def invited(tenant: Tenant, owner: User) -> invitations.Invited:
    with tenant_scope(tenant):
        return invitations.invite(email=NEW, role="editor", invited_by=owner, actor=ACTOR)


def shown(invited: invitations.Invited) -> str:
    return f"/invitations/{invited.token}/"


def mailed(invited: invitations.Invited) -> str:
    return f"/invitations/{invited.mailed_token}/"


def roles(email: str) -> list[tuple[str, str]]:
    return [(t.tenant_name, t.role) for t in tenants_of(User.objects.get(email=email).pk)]


def text_of(answer: Any) -> str:
    return answer.content.decode()


def part_of(text: str, pattern: str) -> str:
    found = re.search(pattern, text)
    assert found, pattern
    return found.group(1)


def sign_up(client: Client, email: str = NEW) -> Any:
    return client.post("/accounts/signup/", {"name": "Ada", "email": email, "password1": PASSWORD})


def test_the_right_person_sees_what_they_accept_and_looking_accepts_nothing(
    sign_in: SignIn, invited: invitations.Invited
):
    client = sign_in(create_user(email=NEW, password=PASSWORD))
    for look in (client.get, client.head):
        assert look(mailed(invited)).status_code == 200
    page = text_of(client.get(mailed(invited)))
    assert "owner@acme.example" in page
    assert "Join “Acme”" in page
    assert "Accept invitation" in page
    assert "Start and steer runs" in page
    assert "Create, rotate and revoke API keys" not in page
    assert roles(NEW) == []


def test_accepted_the_person_is_in_the_tenant_whatever_they_had_open(
    tenant: Tenant, other_tenant: Tenant, sign_in: SignIn, invited: invitations.Invited
):
    ada = make_user(other_tenant, role="admin", email=NEW)
    client = sign_in(ada)
    client.get("/app/")
    answer = client.post(shown(invited), follow=True)
    assert answer.redirect_chain == [("/app/", 302)]
    assert "You belong to Acme now, as editor." in text_of(answer)
    assert client.session[SESSION_KEY] == str(tenant.pk)
    assert roles(NEW) == [("Acme", "editor"), ("Globex", "admin")]


def test_pressed_twice_it_is_accepted_once_and_says_so(sign_in: SignIn, invited: invitations.Invited):
    client = sign_in(create_user(email=NEW, password=PASSWORD))
    client.post(shown(invited))
    answer = client.post(shown(invited))
    assert answer.status_code == 404
    assert "You accepted it before?" in text_of(answer)
    assert roles(NEW) == [("Acme", "editor")]


def test_somebody_else_is_told_whose_it_is_and_cannot_accept(
    sign_in: SignIn, other_tenant: Tenant, invited: invitations.Invited
):
    eve = make_user(other_tenant, email="eve@globex.example")
    client = sign_in(eve)
    for answer in (client.get(mailed(invited)), client.post(mailed(invited))):
        assert answer.status_code == 403
        assert "This invitation is for somebody else" in text_of(answer)
        assert f'name="next" value="{mailed(invited)}"' in text_of(answer)
        assert "Accept invitation" not in text_of(answer)
    assert roles(eve.email) == [("Globex", "viewer")]
    back = client.post("/accounts/logout/", {"next": mailed(invited)})
    assert back["Location"] == mailed(invited)
    assert "Make an account" in text_of(client.get(mailed(invited)))


def test_an_address_that_nobody_verified_is_told_so(sign_in: SignIn, invited: invitations.Invited):
    ada = create_user(email=NEW, password=PASSWORD)
    EmailAddress.objects.filter(user=ada).update(verified=False)
    client = sign_in(ada)
    for answer in (client.get(mailed(invited)), client.post(mailed(invited))):
        assert answer.status_code == 403
        assert "Verify your address first" in text_of(answer)
    assert roles(NEW) == []


@pytest.mark.parametrize(
    "path", ["/invitations/x/", "/invitations/%00/", "/invitations/a.b.c/", "/invitations/é/"]
)
def test_a_link_that_is_none_looks_like_one_that_is_over(
    path: str, client: Client, admin: Client, tenant: Tenant, invited: invitations.Invited
):
    with tenant_scope(tenant):
        invitations.revoke_invitation(invitation_id=invited.invitation.pk, actor=ACTOR)
    for visitor in (client, admin):
        answers = [visitor.get(path), visitor.get(shown(invited)), visitor.post(shown(invited))]
        assert {answer.status_code for answer in answers} == {404}
        assert all("This invitation is over" in text_of(answer) for answer in answers)
        assert all("Acme" not in text_of(answer) for answer in answers)


def test_a_link_that_works_stays_out_of_logs_and_error_reports(invited: invitations.Invited):
    for path in (shown(invited), mailed(invited)):
        written = scrub(
            {"event": f"Forbidden: {path}", "request": {"url": f"https://weir.example{path}?a=b"}}
        )
        assert invited.token not in str(written)
        assert path.rstrip("/").rpartition(".")[2] not in str(written)


def test_a_form_from_elsewhere_accepts_nothing(invited: invitations.Invited):
    ada = create_user(email=NEW, password=PASSWORD)
    client = Client(enforce_csrf_checks=True)
    client.force_login(ada, backend="allauth.account.auth_backends.AuthenticationBackend")
    assert client.post(mailed(invited)).status_code == 403
    assert roles(NEW) == []


def test_signed_out_nothing_is_accepted_and_signing_in_leads_back(
    invited: invitations.Invited, client: Client
):
    create_user(email=NEW, password=PASSWORD)
    client.post(shown(invited))
    assert roles(NEW) == []
    page = text_of(client.get(shown(invited)))
    assert "Sign in as ada@new.example" in page
    answer = client.post("/accounts/login/", {"login": NEW, "password": PASSWORD})
    assert answer["Location"] == "/invitations/"
    assert "Accept invitation" in text_of(client.get(shown(invited)))


@pytest.mark.parametrize("signup", ["open", "invited"])
def test_who_has_the_mail_signs_up_without_a_code_and_accepts(
    invited: invitations.Invited, client: Client, settings: Any, mailoutbox: Any, signup: str
):
    settings.SIGNUP = signup
    client.get(mailed(invited))
    link = part_of(text_of(client.get(mailed(invited))), r'href="(/accounts/signup/[^"]+)"')
    assert f'value="{NEW}"' in text_of(client.get(link))
    answer = sign_up(client)
    assert answer["Location"] == "/invitations/"
    assert not [mail for mail in mailoutbox if re.search("code", mail.subject + mail.body, re.IGNORECASE)]
    client.post(mailed(invited))
    assert roles(NEW) == [("Acme", "editor")]


def test_who_was_only_handed_the_link_proves_the_address_by_a_code(
    invited: invitations.Invited, client: Client, settings: Any, mailoutbox: Any
):
    """Else whoever invites an address could make an account with it, verified, that is not theirs."""
    settings.SIGNUP = "invited"
    client.get(shown(invited))
    answer = sign_up(client)
    assert answer["Location"] == "/accounts/confirm-email/"
    assert not EmailAddress.objects.filter(email=NEW, verified=True).exists()
    client.post(shown(invited))
    assert roles(NEW) == []
    (mail,) = mailoutbox
    assert mail.to == [NEW]
    code = part_of(mail.body, r"Your code for Weir: (\S+)")
    answer = client.post("/accounts/confirm-email/", {"code": code})
    assert answer["Location"] == "/invitations/"
    client.post(shown(invited))
    assert roles(NEW) == [("Acme", "editor")]


def test_the_mailed_link_vouches_for_its_own_address_alone(
    invited: invitations.Invited, client: Client, settings: Any
):
    settings.SIGNUP = "invited"
    client.get(mailed(invited))
    assert sign_up(client, "other@new.example")["Location"] == "/accounts/confirm-email/"
    assert not EmailAddress.objects.filter(verified=True, email="other@new.example").exists()


def test_without_an_invitation_nobody_signs_up_where_it_is_by_invitation(
    db: None, client: Client, settings: Any, tenant: Tenant, invited: invitations.Invited
):
    settings.SIGNUP = "invited"
    client.get("/invitations/x/")
    assert "by invitation" in text_of(client.get("/accounts/signup/"))
    client.get(shown(invited))
    assert "by invitation" not in text_of(client.get("/accounts/signup/"))
    with tenant_scope(tenant):
        invitations.revoke_invitation(invitation_id=invited.invitation.pk, actor=ACTOR)
    client.get(shown(invited))
    assert "by invitation" in text_of(client.get("/accounts/signup/"))


def test_the_session_never_holds_the_link(invited: invitations.Invited, client: Client):
    client.get(mailed(invited))
    assert invited.token not in str(dict(client.session.items()))
    sign_up(client)
    assert "Accept invitation" in text_of(client.get("/invitations/"))
    assert invited.token not in str(dict(client.session.items()))
    assert "Accept invitation" not in text_of(Client().get("/invitations/"))
    assert client.post("/invitations/")["Location"] == "/app/"
    assert roles(NEW) == [("Acme", "editor")]


def test_somebody_else_signs_out_of_the_remembered_page_and_comes_back(
    invited: invitations.Invited, client: Client, other_tenant: Tenant
):
    user = make_user(other_tenant)
    client.get(mailed(invited))
    client.post("/accounts/login/", {"login": user.email, "password": PASSWORD})
    page = client.get("/invitations/")
    assert page.status_code == 403
    assert 'name="next" value="/invitations/"' in text_of(page)
    assert client.post("/invitations/").status_code == 403
    assert client.post("/accounts/logout/", {"next": "/invitations/"})["Location"] == "/invitations/"
    assert "Make an account" in text_of(client.get("/invitations/"))
    client.post("/accounts/login/", {"login": user.email, "password": PASSWORD})
    client.post("/accounts/logout/")
    assert client.get("/invitations/").status_code == 404


@pytest.mark.parametrize("signup", ["open", "invited"])
def test_an_invitation_that_was_taken_back_proves_nothing(
    invited: invitations.Invited, client: Client, settings: Any, tenant: Tenant, signup: str
):
    settings.SIGNUP = signup
    client.get(mailed(invited))
    with tenant_scope(tenant):
        invitations.revoke_invitation(invitation_id=invited.invitation.pk, actor=ACTOR)
    answer = sign_up(client)
    assert not EmailAddress.objects.filter(email=NEW, verified=True).exists()
    if signup == "invited":
        assert "by invitation" in text_of(answer)
        assert not User.objects.filter(email=NEW).exists()
    else:
        assert answer["Location"] == "/accounts/confirm-email/"
