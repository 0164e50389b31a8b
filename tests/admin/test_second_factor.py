"""Staff in production: a password alone opens no page of the console, and changing something takes a fresh proof."""

import subprocess
import sys
import time
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import TOTP, format_hotp_value, generate_totp_secret, hotp_value
from django.test import Client
from django.urls import reverse

from config.deploy_check import production_values
from config.env import BASE_DIR
from tenants.models import User
from tests.admin.rows import Filled, fill
from tests.admin.test_access import every_url
from tests.config.conftest import bare_environment
from tests.factories import PASSWORD

pytestmark = pytest.mark.usefixtures("committed", "strict")


@pytest.fixture
def strict(settings: Any) -> None:
    """As in staging and production."""
    settings.STAFF_SECOND_FACTOR = True


@pytest.fixture
def filled() -> Filled:
    return fill(1)


def code_of(secret: str) -> str:
    return format_hotp_value(hotp_value(secret, int(time.time()) // 30))


def with_app(user: User) -> str:
    secret = generate_totp_secret()
    TOTP.activate(user, secret)
    return secret


def test_production_asks_for_it():
    asked = subprocess.run(
        [sys.executable, "-c", "from config import settings; print(settings.STAFF_SECOND_FACTOR)"],
        cwd=BASE_DIR,
        env={**bare_environment(), **production_values()},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert asked.stdout.strip() == "True", asked.stderr


@pytest.mark.parametrize("method", ["get", "post"])
def test_staff_with_a_password_alone_are_refused_on_every_page(staff: User, method: str):
    client = Client()
    client.post("/accounts/login/", {"login": staff.email, "password": PASSWORD})
    for url in every_url():
        answer = getattr(client, method)(url)
        assert (answer.status_code, answer.url) == (302, "/accounts/2fa/"), url
    assert "takes a second factor" in client.get("/accounts/2fa/").content.decode()


def test_staff_who_have_one_but_did_not_use_it_are_asked_for_it(staff: User):
    secret = with_app(staff)
    client = Client()
    client.force_login(staff)
    answer = client.get("/admin/tenants/")
    assert answer.url == "/accounts/2fa/reauthenticate/?next=%2Fadmin%2Ftenants%2F"
    assert client.post(answer.url, {"code": "000000"}).status_code == 200
    assert client.get("/admin/").status_code == 302
    assert client.post(answer.url, {"code": code_of(secret)}).url == "/admin/tenants/"
    assert client.get("/admin/").status_code == 200


def test_signing_in_with_it_opens_the_console(staff: User):
    secret = with_app(staff)
    client = Client()
    answer = client.post(
        "/accounts/login/?next=/admin/", {"login": staff.email, "password": PASSWORD, "next": "/admin/"}
    )
    assert answer.url.startswith("/accounts/2fa/authenticate/")
    assert client.get("/admin/").url.startswith("/admin/login/"), "half-way is not in"
    assert client.post("/accounts/2fa/authenticate/", {"code": code_of(secret)}).url == "/admin/"
    assert client.get("/admin/").status_code == 200


def test_the_second_factor_of_somebody_else_does_not_count(staff: User):
    client = signed_in(staff)
    session = client.session
    session["account_authentication_methods_user"] = "018f0000-0000-7000-8000-000000000000"
    session.save()
    assert client.get("/admin/").url == "/accounts/2fa/"


def test_changing_something_takes_a_proof_of_the_last_quarter_of_an_hour(staff: User, filled: Filled):
    client = signed_in(staff, ago=15 * 60 + 1)
    url = reverse("admin:tenants_tenant_suspend", args=[filled.tenant.pk])
    assert client.get("/admin/").status_code == 200, "looking does not"
    answer = client.post(url, {"confirmed": "yes"})
    assert answer.url.startswith("/accounts/reauthenticate/?next=%2Fadmin%2F")
    filled.tenant.refresh_from_db(using="ops")
    assert filled.tenant.status == "active"
    client.post(answer.url, {"password": PASSWORD})
    assert not client.post(url, {"confirmed": "yes"}).url.startswith("/accounts/")


def test_signing_out_needs_nothing(staff: User):
    client = signed_in(staff, ago=3600)
    client.post("/admin/logout/")
    assert client.get("/admin/").url.startswith("/admin/login/")


def signed_in(staff: User, ago: int = 0) -> Client:
    """A session whose second factor was used so many seconds ago."""
    client = Client()
    client.force_login(staff)
    session = client.session
    session["account_authentication_methods"] = [{"method": "mfa", "type": "totp", "at": time.time() - ago}]
    session["account_authentication_methods_user"] = str(staff.pk)
    session.save()
    return client


def test_locally_it_may_be_left_out(staff: User, settings: Any):
    settings.STAFF_SECOND_FACTOR = False
    client = Client()
    client.force_login(staff)
    assert client.get("/admin/").status_code == 200
    assert not Authenticator.objects.exists()
