"""One's own account: second factors, recovery codes, passwords, addresses and sessions."""

import base64
import os
import re
import time
from io import StringIO
from typing import TYPE_CHECKING, Any

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value
from allauth.usersessions.models import UserSession
from django.core import mail
from django.core.management import CommandError, call_command
from django.test import Client

from tests.factories import PASSWORD, make_user
from tests.web.conftest import SignIn

if TYPE_CHECKING:
    from tenants.models import Tenant, User

pytestmark = pytest.mark.django_db

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
PASSWORD_PAGE = "/accounts/password/change/"
NEW_PASSWORD = "another long phrase"


def enter(owner: "User", password: str = PASSWORD, **options: Any) -> Client:
    """Somebody at a browser of their own, who signed in with the password."""
    client = Client(**options)
    client.post("/accounts/login/", {"login": owner.email, "password": password})
    return client


def again(owner: "User", code: str) -> int:
    """What somebody gets who signs in with the password and this code: 302 is in, 200 is the form again."""
    return enter(owner).post("/accounts/2fa/authenticate/", {"code": code}).status_code


def code_of(secret: str, later: int = 0) -> str:
    """The code that the app shows now, or `later` times half a minute from now."""
    return format_hotp_value(hotp_value(secret, int(time.time()) // 30 + later))


def set_up_app(client: Client) -> tuple[str, list[str]]:
    """Turn the authenticator app on; gives its key and the recovery codes that the page shows."""
    page = client.get("/accounts/2fa/totp/activate/").content.decode()
    found = re.search(r'id="totp-secret">(\w+)<', page)
    assert found
    answer = client.post("/accounts/2fa/totp/activate/", {"code": code_of(found[1])})
    assert answer["Location"] == "/accounts/2fa/recovery-codes/"
    return found[1], re.findall(r"<code>(\d+)</code>", client.get(answer["Location"]).content.decode())


class TestAuthenticatorApp:
    def test_the_key_is_drawn_on_the_page_itself(self, owner: "User"):
        page = enter(owner).get("/accounts/2fa/totp/activate/").content.decode()
        assert 'src="data:image/svg+xml;base64,' in page
        assert not re.search(r'(src|href)="https?:', page)

    def test_signing_in_takes_its_code_from_then_on(self, owner: "User", redis_client: Any):
        secret, _ = set_up_app(enter(owner))
        client = Client()
        answer = client.post("/accounts/login/", {"login": owner.email, "password": PASSWORD})
        assert answer["Location"].startswith("/accounts/2fa/authenticate/")
        assert client.get("/app/").status_code == 302
        wrong = client.post("/accounts/2fa/authenticate/", {"code": "000000"})
        assert "This is not the code" in wrong.content.decode()
        redis_client.flushdb()
        assert client.post("/accounts/2fa/authenticate/", {"code": code_of(secret)})["Location"] == "/app/"
        assert client.get("/app/").status_code == 200

    def test_a_code_works_once(self, owner: "User"):
        secret, _ = set_up_app(enter(owner))
        code = code_of(secret, later=1)
        assert [again(owner, code) for _ in range(2)] == [302, 200]

    def test_the_code_that_set_it_up_signs_nobody_in(self, owner: "User"):
        client = enter(owner)
        page = client.get("/accounts/2fa/totp/activate/").content.decode()
        secret = re.search(r'id="totp-secret">(\w+)<', page)
        assert secret
        code = code_of(secret[1])
        client.post("/accounts/2fa/totp/activate/", {"code": code})
        assert again(owner, code) == 200

    @pytest.mark.parametrize(("late", "accepted"), [(-2, False), (-1, True), (1, True), (2, False)])
    def test_a_clock_may_be_one_step_off(self, owner: "User", redis_client: Any, late: int, accepted: bool):
        secret, _ = set_up_app(enter(owner))
        redis_client.flushdb()
        code = format_hotp_value(hotp_value(secret, int(time.time()) // 30 + late))
        assert again(owner, code) == (302 if accepted else 200)

    def test_a_code_stays_used_for_as_long_as_it_would_be_accepted(self, owner: "User", redis_client: Any):
        secret, _ = set_up_app(enter(owner))
        again(owner, code_of(secret, later=1))
        keys = redis_client.keys("*totp.used*")
        assert len(keys) == 2  # the other one is of the code that set it up
        assert all(redis_client.ttl(key) > 85 for key in keys)

    def test_turning_it_off_takes_a_proof_and_ends_the_recovery_codes(self, owner: "User"):
        client = enter(owner)
        set_up_app(client)
        forget(client)
        url = "/accounts/2fa/totp/deactivate/"
        assert client.post(url)["Location"].startswith("/accounts/reauthenticate/")
        assert Authenticator.objects.count() == 2
        client.post(f"/accounts/reauthenticate/?next={url}", {"password": PASSWORD})
        client.post(url)
        assert not Authenticator.objects.exists()

    def test_its_key_is_not_kept_as_it_is(self, owner: "User"):
        secret, codes = set_up_app(enter(owner))
        kept = str(list(Authenticator.objects.values_list("data", flat=True)))
        assert secret not in kept
        assert not re.search(r"'seed': '[0-9a-f]{80}'", kept)
        assert again(owner, codes[0]) == 302

    def test_it_survives_a_new_master_key_and_the_removal_of_the_old(self, owner: "User", settings: Any):
        _, codes = set_up_app(enter(owner))
        old = settings.VAULT_KEYS
        settings.VAULT_KEYS = [base64.urlsafe_b64encode(os.urandom(32)).decode(), *old]
        out = StringIO()
        call_command("rotate_secrets", stdout=out)
        assert "2 second factors" in out.getvalue()
        settings.VAULT_KEYS = settings.VAULT_KEYS[:1]
        assert again(owner, codes[0]) == 302

    def test_it_is_told_by_mail(self, committed: None, owner: "User"):
        set_up_app(enter(owner))
        assert [message.subject for message in mail.outbox] == ["Weir: an authenticator app was set up"]
        assert "127.0.0.1" in mail.outbox[0].body


class TestRecoveryCodes:
    def test_they_are_shown_once(self, owner: "User"):
        client = enter(owner)
        _, codes = set_up_app(client)
        assert len(codes) == 10
        again = client.get("/accounts/2fa/recovery-codes/").content.decode()
        assert "<code>" not in again
        assert "cannot be shown again" in again
        assert client.get("/accounts/2fa/recovery-codes/download/").status_code == 403

    def test_each_signs_in_once(self, owner: "User"):
        _, codes = set_up_app(enter(owner))
        assert [again(owner, codes[0]) for _ in range(2)] == [302, 200]

    def test_new_ones_end_the_old(self, owner: "User"):
        client = enter(owner)
        _, codes = set_up_app(client)
        client.post("/accounts/2fa/recovery-codes/generate/")
        assert again(owner, codes[0]) == 200


class TestPassword:
    def test_a_new_one_signs_out_every_other_browser(self, owner: "User"):
        here, there = enter(owner), enter(owner)
        assert there.get("/app/").status_code == 200
        new = {"oldpassword": PASSWORD, "password1": NEW_PASSWORD, "password2": NEW_PASSWORD}
        assert here.post(PASSWORD_PAGE, new).status_code == 302
        assert here.get("/app/").status_code == 200
        assert there.get("/app/").status_code == 302
        assert mail.outbox[-1].subject == "Weir: your password was changed"

    def test_the_wrong_current_one_changes_nothing(self, owner: "User"):
        new = {"oldpassword": "wrong", "password1": NEW_PASSWORD, "password2": NEW_PASSWORD}
        html = enter(owner).post(PASSWORD_PAGE, new).content.decode()
        assert "This is not your current password" in html
        owner.refresh_from_db()
        assert owner.check_password(PASSWORD)

    def test_a_reset_by_mail_works_once_and_signs_out_everywhere(self, owner: "User"):
        there = enter(owner)
        client = Client()
        client.post("/accounts/password/reset/", {"email": owner.email})
        link = link_in(str(mail.outbox[-1].body))
        form = client.get(link, follow=True).redirect_chain[-1][0]
        client.post(form, {"password1": NEW_PASSWORD, "password2": NEW_PASSWORD})
        assert there.get("/app/").status_code == 302
        assert enter(owner, NEW_PASSWORD).get("/app/").status_code == 200
        assert "does not work any more" in Client().get(link, follow=True).content.decode()

    def test_a_reset_of_an_unknown_address_looks_the_same(self, owner: "User"):
        answers = [
            Client().post("/accounts/password/reset/", {"email": email})
            for email in (owner.email, "no@one.example")
        ]
        assert {(answer.status_code, answer["Location"]) for answer in answers} == {
            (302, "/accounts/password/reset/done/")
        }
        assert [message.to[0] for message in mail.outbox] == [owner.email, "no@one.example"]
        assert "http" not in mail.outbox[1].body, "no link for strangers to press"

    def test_a_reset_does_not_get_past_the_second_factor(self, owner: "User"):
        set_up_app(enter(owner))
        client = Client()
        client.post("/accounts/password/reset/", {"email": owner.email})
        form = client.get(link_in(str(mail.outbox[-1].body)), follow=True).redirect_chain[-1][0]
        client.post(form, {"password1": NEW_PASSWORD, "password2": NEW_PASSWORD})
        client.post("/accounts/login/", {"login": owner.email, "password": NEW_PASSWORD})
        assert client.get("/app/").status_code == 302


class TestAddress:
    def test_it_changes_once_the_new_one_is_verified_and_both_are_told(self, owner: "User"):
        client, old = enter(owner), owner.email
        answer = client.post("/accounts/email/", {"email": "new@acme.example", "action_add": ""})
        assert answer["Location"] == "/accounts/confirm-email/"
        owner.refresh_from_db()
        assert owner.email == old
        assert mail.outbox[-1].to == ["new@acme.example"]
        found = re.search(r"Weir: (\S+)", str(mail.outbox[-1].body))
        assert found
        client.post("/accounts/confirm-email/", {"code": found[1]})
        owner.refresh_from_db()
        assert owner.email == "new@acme.example"
        assert list(EmailAddress.objects.values_list("email", "verified", "primary")) == [
            ("new@acme.example", True, True)
        ]
        assert mail.outbox[-1].to == [old]
        assert mail.outbox[-1].subject == "Weir: your e-mail was changed"

    def test_it_takes_a_proof(self, owner: "User"):
        client = enter(owner)
        forget(client)
        answer = client.post("/accounts/email/", {"email": "new@acme.example", "action_add": ""})
        assert answer["Location"].startswith("/accounts/reauthenticate/")
        assert mail.outbox == []

    def test_the_address_of_somebody_else_is_neither_taken_nor_told_of(self, owner: "User", tenant: "Tenant"):
        other = make_user(tenant)
        answer = enter(owner).post("/accounts/email/", {"email": other.email, "action_add": ""})
        assert answer.status_code == 302
        owner.refresh_from_db()
        assert owner.email != other.email


class TestSessions:
    def test_they_are_listed_and_one_is_ended(self, owner: "User"):
        here, there = enter(owner), enter(owner, headers={"user-agent": FIREFOX})
        html = here.get("/accounts/sessions/").content.decode()
        assert "at 2 places" in html
        assert "Firefox on Linux" in html
        pk = UserSession.objects.get(user_agent=FIREFOX).pk
        here.post(f"/accounts/sessions/{pk}/end/")
        assert there.get("/app/").status_code == 302
        assert here.get("/app/").status_code == 200

    def test_all_others_are_ended_at_once(self, owner: "User"):
        here, there, elsewhere = (enter(owner) for _ in range(3))
        here.post("/accounts/sessions/")
        assert [client.get("/app/").status_code for client in (here, there, elsewhere)] == [200, 302, 302]

    def test_nobody_ends_the_session_of_another(self, owner: "User", tenant: "Tenant"):
        there, other = enter(owner), make_user(tenant)
        pk = UserSession.objects.get(user=owner).pk
        answer = enter(other).post(f"/accounts/sessions/{pk}/end/", follow=True)
        assert "This session has ended already" in answer.content.decode()
        assert there.get("/app/").status_code == 200

    def test_one_that_came_by_another_way_is_listed_once_it_is_used(self, owner: "User", sign_in: SignIn):
        sign_in(owner).get("/app/")
        assert UserSession.objects.filter(user=owner).count() == 1

    def test_its_key_changes_on_signing_in_and_nothing_of_the_last_person_stays(
        self, owner: "User", tenant: "Tenant"
    ):
        client = Client()
        client.get("/accounts/login/")
        session = client.session
        session["planted"] = "by an attacker"
        session.save()
        planted = session.session_key
        client.post("/accounts/login/", {"login": owner.email, "password": PASSWORD})
        assert client.session.session_key != planted
        assert Client(headers={"cookie": f"weir_session={planted}"}).get("/app/").status_code == 302
        client.post("/accounts/logout/")
        client.post("/accounts/login/", {"login": make_user(tenant).email, "password": PASSWORD})
        assert "planted" not in client.session

    def test_it_lasts_twelve_hours_and_no_script_reads_it(self, owner: "User", settings: Any):
        client = enter(owner)
        assert client.session.get_expiry_age() == 12 * 3600
        cookie = client.cookies["weir_session"]
        assert (cookie["httponly"], cookie["samesite"]) == (True, "Lax")

    def test_it_ends_at_once_when_the_person_is_switched_off(self, owner: "User"):
        client = enter(owner)
        owner.is_active = False
        owner.save()
        assert client.get("/app/").status_code == 302
        answer = client.post("/accounts/login/", {"login": owner.email, "password": PASSWORD}, follow=True)
        assert "This account is switched off" in answer.content.decode()

    def test_a_removed_member_is_out_at_the_next_request(self, tenant: "Tenant", sign_in: SignIn):
        from tenants.models import Membership
        from tenants.scope import tenant_scope

        member = make_user(tenant, role="editor")
        client = sign_in(member)
        assert client.get("/app/").status_code == 200
        with tenant_scope(tenant):
            Membership.objects.filter(user=member).delete()
        assert client.get("/app/runs/")["Location"] == "/accounts/workspace/"


@pytest.mark.parametrize(
    "path",
    [
        "/accounts/2fa/",
        "/accounts/2fa/totp/activate/",
        "/accounts/2fa/webauthn/",
        "/accounts/2fa/webauthn/add/",
        "/accounts/email/",
        "/accounts/password/change/",
        "/accounts/reauthenticate/",
        "/accounts/sessions/",
        "/accounts/workspace/",
    ],
)
def test_strangers_are_sent_to_sign_in(path: str):
    assert Client().get(path)["Location"].startswith("/accounts/login/")


def forget(client: Client) -> None:
    """A quarter of an hour passes."""
    session = client.session
    for record in session["account_authentication_methods"]:
        record["at"] -= 15 * 60 + 1
    session.save()


def link_in(text: str) -> str:
    found = re.search(r"https?://[^/\s]+(\S+)", text)
    assert found
    return found[1]


class TestLockedOut:
    """Phone gone, codes gone: an operator takes the second factors away."""

    def test_the_password_alone_signs_in_again_and_the_person_is_told(self, owner: "User"):
        set_up_app(enter(owner))
        mail.outbox.clear()
        call_command("reset_second_factor", "--email", owner.email.upper(), stdout=StringIO())
        assert not Authenticator.objects.exists()
        assert enter(owner).get("/app/").status_code == 200
        assert mail.outbox[0].to == [owner.email]
        assert "second factors were removed" in mail.outbox[0].body

    def test_browsers_that_are_signed_in_are_signed_out(self, owner: "User"):
        there = enter(owner)
        set_up_app(there)
        call_command("reset_second_factor", "--email", owner.email, stdout=StringIO())
        assert there.get("/app/").status_code == 302

    def test_nobody_is_an_error(self, owner: "User"):
        with pytest.raises(CommandError, match="no account"):
            call_command("reset_second_factor", "--email", "no@one.example")
        with pytest.raises(CommandError, match="no second factor"):
            call_command("reset_second_factor", "--email", owner.email)
