"""From an address to a workspace: who may sign up, what is verified, and what nobody learns from it."""

import re
from typing import TYPE_CHECKING, Any

import pytest
from allauth.account.models import EmailAddress
from django.core import mail
from django.test import Client

from tenants.errors import Conflict
from tenants.models import AuditEvent, Membership, Tenant, User
from tenants.operations.invitations import invite
from tenants.operations.people import create_user, start_tenant
from tenants.queries import tenants_of
from tenants.scope import tenant_scope
from tests.factories import PASSWORD

if TYPE_CHECKING:
    from tenants.models import User as Person

pytestmark = pytest.mark.django_db

NEW = "ada@engines.example"


def sign_up(client: Client, email: str = NEW, **fields: str) -> Any:
    return client.post(
        "/accounts/signup/",
        {"name": "Ada Byron", "email": email, "password1": "a long enough phrase", **fields},
    )


def code() -> str:
    found = re.search(r"Your code for Weir: (\S+)", str(mail.outbox[-1].body))
    assert found
    return found[1]


def enter_code(client: Client, given: str) -> Any:
    return client.post("/accounts/confirm-email/", {"code": given})


def test_from_an_address_to_a_workspace(client: Client):
    assert sign_up(client)["Location"] == "/accounts/confirm-email/"
    assert client.get("/app/").status_code == 302, "an unverified address opens nothing"
    assert mail.outbox[0].subject == f"Weir: your code is {code()}"
    assert NEW in client.get("/accounts/confirm-email/").content.decode()
    assert enter_code(client, code())["Location"] == "/app/"
    assert client.get("/app/")["Location"] == "/accounts/workspace/"
    assert "Name your workspace" in client.get("/accounts/workspace/").content.decode()

    assert client.post("/accounts/workspace/", {"name": "Analytical Engines"})["Location"] == "/app/"
    page = client.get("/app/")
    assert page.status_code == 200
    assert "Analytical Engines" in page.content.decode()
    user = User.objects.get(email=NEW)
    assert user.name == "Ada Byron"
    (tenant,) = tenants_of(user.pk)
    assert (tenant.role, tenant.is_owner, tenant.plan) == ("admin", True, "free")
    with tenant_scope(tenant.tenant_id):
        assert AuditEvent.objects.filter(verb="tenant.created", actor=f"user:{NEW}").exists()


def test_a_wrong_code_is_said_and_the_third_ends_it(client: Client):
    sign_up(client)
    answer = enter_code(client, "WRONG1")
    assert "This is not the code" in answer.content.decode()
    enter_code(client, "WRONG2")
    assert enter_code(client, "WRONG3")["Location"] == "/accounts/login/"
    assert enter_code(client, code())["Location"] == "/accounts/login/"
    assert client.get("/app/").status_code == 302


def test_signing_in_before_the_address_is_verified_asks_for_the_code(client: Client, redis_client: Any):
    sign_up(client)
    redis_client.flushdb()
    other = Client()
    answer = other.post("/accounts/login/", {"login": NEW, "password": "a long enough phrase"})
    assert answer["Location"] == "/accounts/confirm-email/"
    assert len(mail.outbox) == 2
    assert other.get("/app/").status_code == 302


def test_a_known_address_gets_the_same_answer_and_a_mail_that_says_so(client: Client, owner: "Person"):
    known, new = Client(), Client()
    answers = [sign_up(known, owner.email), sign_up(new, NEW)]
    assert {(answer.status_code, answer["Location"]) for answer in answers} == {
        (302, "/accounts/confirm-email/")
    }
    pages = [
        re.sub(r'value="\w{20,}"', "", person.get("/accounts/confirm-email/").content.decode()).replace(
            email, ""
        )
        for person, email in ((known, owner.email), (new, NEW))
    ]
    assert pages[0] == pages[1]
    assert mail.outbox[0].to == [owner.email]
    assert mail.outbox[0].subject == "Weir: you have an account already"
    assert "code" not in mail.outbox[0].body
    owner.refresh_from_db()
    assert owner.check_password(PASSWORD)


def test_a_known_address_costs_the_same_hashing(
    client: Client, owner: "Person", monkeypatch: pytest.MonkeyPatch
):
    from django.contrib.auth.hashers import PBKDF2PasswordHasher

    hashed = []
    original = PBKDF2PasswordHasher.encode

    def encode(self: Any, *rest: Any) -> str:
        hashed.append(1)
        return original(self, *rest)

    monkeypatch.setattr(PBKDF2PasswordHasher, "encode", encode)
    counts = []
    for email in (owner.email, NEW):
        hashed.clear()
        sign_up(Client(), email)
        counts.append(len(hashed))
    assert counts[0] == counts[1] > 0


@pytest.mark.parametrize("password", ["short", "password1234", "ada@engines.example"])
def test_a_weak_password_is_refused_and_the_rest_is_kept(client: Client, password: str):
    html = sign_up(client, password1=password).content.decode()
    assert "The account was not made" in html
    assert f'value="{NEW}"' in html
    assert not User.objects.filter(email=NEW).exists()


def test_somebody_who_took_the_address_first_cannot_keep_it(client: Client, redis_client: Any):
    """An account made with an address that is not one's own is its owner's as soon as they ask for a new password."""
    sign_up(client)
    redis_client.flushdb()
    owner = Client()
    owner.post("/accounts/password/reset/", {"email": NEW})
    link = re.search(r"https?://[^/\s]+(\S+)", str(mail.outbox[-1].body))
    assert link
    form = owner.get(link[1], follow=True)
    owner.post(form.redirect_chain[-1][0], {"password1": "my own phrase 12", "password2": "my own phrase 12"})
    redis_client.flushdb()
    stolen = Client().post("/accounts/login/", {"login": NEW, "password": "a long enough phrase"})
    assert "do not belong together" in stolen.content.decode()


@pytest.mark.parametrize("policy", ["invited", "closed"])
def test_where_sign_up_is_not_open_there_is_no_form(client: Client, settings: Any, policy: str):
    settings.SIGNUP = policy
    assert "Accounts are made by invitation" in client.get("/accounts/signup/").content.decode()
    sign_up(client)
    assert not User.objects.filter(email=NEW).exists()
    assert "Make an account" not in client.get("/accounts/login/").content.decode()


@pytest.mark.parametrize(("policy", "made"), [("open", True), ("invited", True), ("closed", False)])
def test_an_invitation_lets_its_person_sign_up_and_leads_back_to_it(
    client: Client, settings: Any, tenant: Tenant, owner: "Person", policy: str, made: bool
):
    settings.SIGNUP = policy
    with tenant_scope(tenant):
        invited = invite(email=NEW, role="viewer", invited_by=owner, actor="system:tests")
    client.get(f"/invitations/{invited.token}/")
    sign_up(client)
    assert User.objects.filter(email=NEW).exists() == made
    if made:
        assert enter_code(client, code())["Location"] == "/invitations/"
        assert client.get("/accounts/workspace/")["Location"] == "/invitations/"


def test_an_invitation_leads_a_known_person_back_after_signing_in(
    client: Client, tenant: Tenant, owner: "Person"
):
    with tenant_scope(tenant):
        invited = invite(email=NEW, role="viewer", invited_by=owner, actor="system:tests")
    client.get(f"/invitations/{invited.token}/")
    answer = client.post("/accounts/login/", {"login": owner.email, "password": PASSWORD})
    assert answer["Location"] == "/invitations/"


@pytest.fixture
def alone(client: Client) -> Client:
    client.force_login(
        create_user(email="alone@nowhere.example", password=PASSWORD),
        backend="allauth.account.auth_backends.AuthenticationBackend",
    )
    return client


def test_where_sign_up_is_not_open_nobody_names_a_workspace(alone: Client, settings: Any):
    settings.SIGNUP = "invited"
    answer = alone.post("/accounts/workspace/", {"name": "Mine"})
    assert answer.status_code == 403
    assert "Ask an admin of your team" in answer.content.decode()
    assert not tenants_of(User.objects.get(email="alone@nowhere.example").pk)


@pytest.mark.parametrize("name", ["", "   ", "x" * 121])
def test_a_bad_name_is_said_beside_the_field(alone: Client, name: str):
    answer = alone.post("/accounts/workspace/", {"name": name})
    assert answer.status_code == 422
    assert 'aria-describedby="id_name_error"' in answer.content.decode()


def test_the_button_pressed_twice_makes_one_workspace(alone: Client):
    for _ in range(2):
        assert alone.post("/accounts/workspace/", {"name": "Mine"})["Location"] == "/app/"
    assert len(tenants_of(User.objects.get(email="alone@nowhere.example").pk)) == 1


def test_who_belongs_to_a_tenant_starts_no_second_one(owner: "Person"):
    with pytest.raises(Conflict):
        start_tenant(name="Another", owner=owner, actor="system:tests")
    assert len(tenants_of(owner.pk)) == 1


def test_who_belongs_to_a_suspended_tenant_is_told_so_and_starts_no_other(
    admin: Client, tenant: Tenant, owner: "Person"
):
    from tenants.operations.tenants import suspend_tenant

    with tenant_scope(tenant):
        suspend_tenant(actor="system:tests")
    assert admin.get("/app/")["Location"] == "/accounts/workspace/"
    answer = admin.post("/accounts/workspace/", {"name": "Another"})
    assert answer.status_code == 403
    assert "Your workspace is suspended" in answer.content.decode()
    assert len(tenants_of(owner.pk)) == 1


def test_whoever_an_operator_made_signs_in_without_a_code(committed: None, client: Client, tenant: Tenant):
    for person in (create_user(email="bare@acme.example", password=PASSWORD), boss()):
        with tenant_scope(tenant):
            Membership.objects.create(user=person, role="viewer")
        answer = client.post("/accounts/login/", {"login": person.email, "password": PASSWORD})
        assert answer["Location"] == "/app/"
        assert EmailAddress.objects.get(user=person).verified
        client.logout()
    assert mail.outbox == []


def boss() -> "Person":
    return User.objects.create_superuser("boss@acme.example", PASSWORD)


def test_signing_in_vouches_for_nobody(client: Client, redis_client: Any):
    bare = User.objects.create_user("bare@acme.example", PASSWORD)
    answer = client.post("/accounts/login/", {"login": bare.email, "password": PASSWORD})
    assert answer["Location"] == "/accounts/confirm-email/"
    assert not EmailAddress.objects.filter(user=bare, verified=True).exists()
    assert client.get("/app/").status_code == 302
    enter_code(client, code())
    assert EmailAddress.objects.get(user=bare).verified


def test_an_address_that_would_be_cut_is_refused(client: Client, redis_client: Any):
    for _ in range(2):
        answer = sign_up(client, "spam1" + "q" * 260 + "@x.example")
        assert answer.status_code == 200
        assert "at most 254 characters" in answer.content.decode()
    # 254 characters as typed, 255 in lower case.
    assert sign_up(client, "\u0130" + "q" * 243 + "@x.example").status_code == 200
    assert not User.objects.exists()
    assert "_auth_user_id" not in client.session
    reset = client.post("/accounts/password/reset/", {"email": "q" * 260 + "@x.example"})
    assert "at most 254 characters" in reset.content.decode()
    assert sign_up(client, "q" * 244 + "@x.example")["Location"] == "/accounts/confirm-email/"


def test_a_mail_server_that_is_away_loses_nothing(client: Client, settings: Any, redis_client: Any):
    settings.EMAIL_BACKEND, settings.EMAIL_HOST, settings.EMAIL_PORT = (
        "django.core.mail.backends.smtp.EmailBackend",
        "127.0.0.1",
        9,
    )
    assert sign_up(client)["Location"] == "/accounts/confirm-email/"
    assert "The mail could not be sent" in client.get("/accounts/confirm-email/").content.decode()
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    redis_client.flushdb()
    client.post("/accounts/confirm-email/", {"action": "resend"})
    assert enter_code(client, code())["Location"] == "/app/"


def test_links_in_mails_lead_to_our_own_address(client: Client, owner: "Person", settings: Any):
    settings.BASE_URL = "https://weir.example"
    client.post("/accounts/password/reset/", {"email": owner.email}, headers={"host": "testserver:8123"})
    body = str(mail.outbox[-1].body)
    assert "https://weir.example/accounts/password/reset/key/" in body
    assert "testserver" not in body
