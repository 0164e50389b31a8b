"""Signing in and out: the words for what went wrong, and where one lands."""

from typing import TYPE_CHECKING

import pytest
from django.test import Client

from tests.factories import PASSWORD

if TYPE_CHECKING:
    from tenants.models import User


def test_the_right_password_leads_to_where_one_wanted_to_go(client: Client, owner: "User"):
    page = client.get("/accounts/login/?next=/app/vendors/").content.decode()
    assert 'name="next" value="/app/vendors/"' in page
    answer = client.post(
        "/accounts/login/", {"login": owner.email, "password": PASSWORD, "next": "/app/vendors/"}
    )
    assert answer["Location"] == "/app/vendors/"


def test_signing_in_leads_to_no_other_site(client: Client, owner: "User"):
    answer = client.post(
        "/accounts/login/", {"login": owner.email, "password": PASSWORD, "next": "https://evil.example/"}
    )
    assert answer["Location"] == "/app/"


@pytest.mark.parametrize("email", ["owner@acme.example", "nobody@acme.example"])
def test_a_wrong_password_is_said_in_words_that_tell_nothing_else(client: Client, owner: "User", email: str):
    answer = client.post("/accounts/login/", {"login": email, "password": "wrong"})
    html = answer.content.decode()
    assert "This e-mail address and password do not belong together." in html
    assert f'value="{email}"' in html, "what was typed is kept"
    assert "wrong" not in html.partition("<form")[2]


def test_an_empty_form_names_each_field(client: Client, db: None):
    html = client.post("/accounts/login/", {"login": "", "password": ""}).content.decode()
    assert 'aria-describedby="id_login_error"' in html
    assert 'aria-describedby="id_password_error"' in html


def test_signing_out_ends_the_session(admin: Client):
    assert admin.get("/app/").status_code == 200
    answer = admin.post("/accounts/logout/")
    assert answer["Location"] == "/accounts/login/"
    assert admin.get("/app/").status_code == 302


def test_looking_at_the_sign_out_page_does_not_sign_out(admin: Client):
    admin.get("/accounts/logout/")
    assert admin.get("/app/").status_code == 200
