"""The front door's answers, one by one: what is believed of a key, for how long, and in which words it is refused."""

import time
import uuid
from collections.abc import Sequence
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.test import RequestFactory
from django.utils import timezone
from rest_framework.exceptions import AuthenticationFailed, MethodNotAllowed, PermissionDenied

from tenants import api_keys, context
from tenants.api import authentication
from tenants.api.authentication import ApiKeyAuthentication, HasPermission, InvalidKey, KeyPrincipal
from tenants.queries import KeyOwner
from tenants.remembered import Remembered

KEY = api_keys.new_key(livemode=True)


def an_owner(**changes: Any) -> KeyOwner:
    values: dict[str, Any] = {
        "key_id": uuid.uuid4(), "tenant_id": uuid.uuid4(), "tenant_name": "Acme", "plan": "pro",
        "tenant_status": "active", "livemode": True, "scopes": ("read",), "expires_at": None, "revoked_at": None,
        "last_used_at": None, "hint": KEY.hint,
    }  # fmt: skip
    return KeyOwner(**{**values, **changes})


class Door:
    """The check of a key, with the database's answer given here."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.owner: KeyOwner | None = an_owner()
        self.asked: list[bytes] = []
        self.used: list[KeyOwner] = []
        self.clock = 1_000.0
        owners = Remembered(self._answer, seconds=authentication.CACHE_SECONDS, nothing=None)
        monkeypatch.setattr(authentication, "OWNERS", owners)
        monkeypatch.setattr(authentication, "note_use", self.used.append)
        monkeypatch.setattr(time, "monotonic", lambda: self.clock)

    def _answer(self, digests: Sequence[bytes]) -> dict[bytes, KeyOwner | None]:
        self.asked += digests
        return dict.fromkeys(digests, self.owner) if self.owner else {}

    def check(self, **headers: str) -> Any:
        request: Any = RequestFactory().get("/api/v1/tenant", headers=headers)
        return ApiKeyAuthentication().authenticate(request)

    def refusal(self, **headers: str) -> AuthenticationFailed:
        with pytest.raises(AuthenticationFailed) as told:
            self.check(**(headers or {"Authorization": f"Bearer {KEY.plain}"}))
        return told.value


@pytest.fixture
def door(monkeypatch: pytest.MonkeyPatch) -> Door:
    return Door(monkeypatch)


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {KEY.plain}"},
        {"Authorization": f"bearer   {KEY.plain} "},
        {"X-API-Key": KEY.plain},
    ],
)
def test_a_good_key_names_its_tenant_to_everything_that_follows(door: Door, headers: dict[str, str]):
    with context.context():
        found: Any = door.check(**headers)
        principal, owner = found
        seen = context.current()
    assert owner is door.owner
    assert isinstance(owner, KeyOwner)
    assert (principal.pk, principal.tenant_id, principal.owner) == (owner.key_id, owner.tenant_id, owner)
    assert str(principal) == f"key:{owner.hint}"
    assert (seen.tenant_id, seen.plan, seen.actor) == (owner.tenant_id, "pro", f"key:{owner.hint}")
    assert (seen.key_id, seen.livemode) == (owner.key_id, True)
    assert door.used == [owner]
    assert door.asked == [KEY.digest]


def test_a_test_key_is_told_to_be_one(door: Door):
    door.owner = an_owner(livemode=False)
    with context.context():
        door.check(**{"X-API-Key": KEY.plain})
        assert context.current().livemode is False


def test_no_key_is_no_refusal_yet(door: Door):
    assert door.check() is None
    assert door.asked == []


@pytest.mark.parametrize("key", ["", "x", KEY.plain[:-1]], ids=["empty", "short", "cut"])
def test_what_is_no_key_is_refused_without_a_question(door: Door, key: str):
    told = door.refusal(**{"X-API-Key": key})
    assert isinstance(told, InvalidKey)
    assert told.detail == "The API key is not valid. Check that it was copied whole and has not been revoked."
    assert told.get_codes() == "invalid_api_key"
    assert door.asked == []


@pytest.mark.parametrize(
    "header", ["Basic d2s6", f"Token {KEY.plain}", KEY.plain], ids=["basic", "token", "none"]
)
def test_another_scheme_is_told_how_to_send_it(door: Door, header: str):
    told = door.refusal(Authorization=header)
    assert told.detail == "Send the key as “Authorization: Bearer wk_…” or in X-API-Key."
    assert told.get_codes() == "invalid_api_key"


def test_an_unknown_key_and_a_revoked_one_are_refused_alike(door: Door):
    door.owner = None
    unknown = door.refusal()
    door.clock += 2
    door.owner = an_owner(revoked_at=timezone.now())
    revoked = door.refusal()
    assert (unknown.detail, unknown.get_codes()) == (revoked.detail, revoked.get_codes())
    assert unknown.get_codes() == "invalid_api_key"
    assert door.used == []


def test_a_revocation_that_lies_ahead_is_none_yet(door: Door):
    door.owner = an_owner(revoked_at=timezone.now() + timedelta(minutes=1))
    assert door.check(**{"X-API-Key": KEY.plain})


def test_an_end_counts_from_its_very_moment(door: Door, monkeypatch: pytest.MonkeyPatch):
    now = timezone.now()
    monkeypatch.setattr(authentication.timezone, "now", lambda: now)
    door.owner = an_owner(expires_at=now)
    told = door.refusal()
    assert told.detail == "The API key has expired. Create a new one under Developers."
    assert told.get_codes() == "expired_api_key"
    door.clock += 2
    door.owner = an_owner(revoked_at=now)
    assert door.refusal().get_codes() == "invalid_api_key"
    door.clock += 2
    door.owner = an_owner(expires_at=now + timedelta(microseconds=1))
    assert door.check(**{"X-API-Key": KEY.plain})


def test_the_keys_of_a_suspended_tenant_rest(door: Door):
    door.owner = an_owner(tenant_status="suspended")
    with pytest.raises(PermissionDenied) as told:
        door.check(**{"X-API-Key": KEY.plain})
    assert (told.value.detail, told.value.get_codes()) == ("This tenant is suspended.", "tenant_suspended")


def test_an_answer_is_believed_for_less_than_a_second(door: Door):
    first = door.owner
    for later, asked in ((0.0, 1), (0.99, 1), (1.0, 2), (1.5, 2), (2.0, 3)):
        door.clock = 1_000.0 + later
        assert authentication.OWNERS.get(KEY.digest) is first
        assert len(door.asked) == asked, later


def test_that_there_is_no_such_key_is_remembered_as_well(door: Door):
    door.owner = None
    assert authentication.OWNERS.get(b"x") is None
    assert authentication.OWNERS.get(b"x") is None
    assert authentication.OWNERS.get(b"y") is None
    assert door.asked == [b"x", b"y"]


def test_what_is_remembered_does_not_grow_without_end(door: Door):
    for number in range(10_001):
        authentication.OWNERS.get(number.to_bytes(4))
    assert len(authentication.OWNERS) == 10_001
    authentication.OWNERS.get(b"one more")
    assert len(authentication.OWNERS) == 1


def test_the_caller_is_told_how_to_sign_in():
    assert ApiKeyAuthentication().authenticate_header(RequestFactory().get("/")) == 'Bearer realm="weir"'  # type: ignore[arg-type]


def may(permission: str, auth: Any, method: str | None = "GET") -> bool:
    asked: list[str] = []

    def permission_for(name: str) -> str:
        asked.append(name)
        return permission

    view = SimpleNamespace(permission_for=permission_for, get=None, post=None)
    allowed = HasPermission().has_permission(SimpleNamespace(auth=auth, method=method), view)  # type: ignore[arg-type]
    assert asked in ([method or "GET"], [])
    return allowed


def test_a_key_does_what_its_scopes_reach():
    assert may("runs.read", an_owner()) is True
    assert may("runs.read", an_owner(), None) is True
    assert may("runs.read", None) is False
    assert may("keys.change", an_owner(scopes=("admin",)), "POST") is True
    assert may("keys.change", an_owner(scopes=("admin",), livemode=False), "POST") is True


@pytest.mark.parametrize(
    ("permission", "changes", "code", "words"),
    [
        ("runs.change", {}, "missing_scope",
         "This key lacks the scope “write”, which it takes to start and steer runs."),
        ("members.read", {"scopes": ("read", "write", "admin")}, "people_only",
         "No key can see who belongs to the tenant: sign in."),
        ("audit.read", {"scopes": ("admin",), "livemode": False}, "live_key_needed",
         "A test key cannot read the audit trail: use a live key."),
    ],
)  # fmt: skip
def test_a_key_that_does_not_reach_is_told_what_it_lacks(
    permission: str, changes: Any, code: str, words: str
):
    with pytest.raises(PermissionDenied) as told:
        may(permission, an_owner(**changes))
    assert (told.value.detail, told.value.get_codes()) == (words, code)


def test_a_live_key_reaches_what_test_keys_do_not():
    assert may("audit.read", an_owner(scopes=("admin",))) is True


def test_a_method_that_the_view_does_not_have_is_told_so():
    with pytest.raises(MethodNotAllowed) as told:
        may("runs.read", an_owner(), "PATCH")
    assert told.value.detail == 'Method "PATCH" not allowed.'


def test_a_key_counts_as_somebody():
    principal = KeyPrincipal(an_owner())
    assert (principal.is_authenticated, principal.is_anonymous, principal.is_active) == (True, False, True)
