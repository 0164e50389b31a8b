"""What stands in the table of sessions: nothing that would open an account, however it is unpacked."""

import base64
import json
import re
import zlib
from typing import Any

import pytest
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.contrib.sessions.serializers import JSONSerializer
from django.core import mail
from django.core.signing import dumps
from django.test import Client

from tenants.models import User
from tests.factories import PASSWORD

NEW_PASSWORD = "a long enough phrase"


def stored() -> str:
    """Every session as it stands in the table, packed and unpacked."""
    found = []
    for text in Session.objects.values_list("session_data", flat=True):
        body = text.lstrip(".").split(":")[0]
        raw = base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))
        if text.startswith("."):
            raw = zlib.decompress(raw)
        found += [text, raw.decode("latin-1")]
    assert found, "no session was stored"
    return "\n".join(found)


def held(client: Client) -> str:
    """The session as the server sees it."""
    return json.dumps(dict(client.session.items()))


def follow_reset_link(client: Client, owner: User) -> tuple[str, str]:
    client.post("/accounts/password/reset/", {"email": owner.email})
    link = re.search(r"/accounts/password/reset/key/[^\s/]+/", str(mail.outbox[-1].body))
    assert link
    page = client.get(link[0])
    assert page.status_code == 302
    return link[0].rstrip("/").rsplit("/", 1)[1].split("-", 1)[1], page["Location"]


def test_the_key_of_a_followed_reset_link_is_not_in_the_table_and_works(client: Client, owner: User):
    key, form = follow_reset_link(client, owner)
    assert key in held(client)
    assert key not in stored()
    client.post(form, {"password1": NEW_PASSWORD, "password2": NEW_PASSWORD})
    owner.refresh_from_db()
    assert owner.check_password(NEW_PASSWORD)


def test_a_mailed_code_is_not_in_the_table(db: None, client: Client):
    fields = {"name": "Ada", "email": "ada@engines.example", "password1": NEW_PASSWORD}
    assert client.post("/accounts/signup/", fields).status_code == 302
    code = re.search(r"Your code for Weir: (\S+)", str(mail.outbox[-1].body))
    assert code
    assert code[1] in held(client)
    assert code[1] not in stored()


def test_the_key_of_an_app_that_is_being_set_up_is_not_in_the_table(client: Client, owner: User):
    client.post("/accounts/login/", {"login": owner.email, "password": PASSWORD})
    assert client.get("/accounts/2fa/totp/activate/").status_code == 200
    secret = client.session["mfa.totp.secret"]
    assert secret not in stored()


def test_sessions_from_before_they_were_sealed_still_open_and_foreign_ones_do_not(db: None, settings: Any):
    store = SessionStore()
    values = {"tenant_id": "x", "number": 3}
    old = dumps(values, salt=store.key_salt, serializer=JSONSerializer, compress=True)
    assert store.decode(old) == values
    sealed = store.encode(values)
    assert store.decode(sealed) == values
    assert store.encode(values) != sealed, "sealed twice alike"
    first = settings.SECRET_KEY
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "another" * 9, [first]
    assert store.decode(sealed) == values, "a fallback opens what it sealed"
    settings.SECRET_KEY_FALLBACKS = []
    assert store.decode(sealed) == {}


@pytest.mark.parametrize("place", [1, 20, -1])
def test_a_changed_session_is_an_empty_one(db: None, place: int):
    store = SessionStore()
    sealed = store.encode({"a": 1})
    changed = list(sealed)
    changed[place] = "A" if changed[place] != "A" else "B"
    assert store.decode("".join(changed)) == {}
