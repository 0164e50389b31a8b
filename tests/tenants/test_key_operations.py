"""Making, replacing and ending keys: what is refused and in which words, at the edges, and what the trail keeps."""

import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from tenants.api_keys import digest
from tenants.errors import Conflict, InvalidInput, NotAllowed, NotFound
from tenants.models import ApiKey, AuditEvent, Tenant, User
from tenants.operations import keys
from tenants.operations.keys import create_api_key, revoke_api_key, rotate_api_key
from tenants.queries import KeyOwner, key_owners
from tenants.scope import tenant_scope

ACTOR = "user:ada@acme.example"


@pytest.fixture
def mine(tenant: Tenant) -> Iterator[Tenant]:
    with tenant_scope(tenant):
        yield tenant


def make(**options: Any) -> tuple[Any, str]:
    return create_api_key(**{"name": "CRM", "actor": ACTOR, **options})


def owner_of(plain: str) -> KeyOwner:
    found = key_owners([digest(plain)])[digest(plain)]
    assert found is not None
    return found


def faults(act: Any, *args: Any, **named: Any) -> list[dict[str, str]]:
    with pytest.raises(InvalidInput) as told:
        act(*args, **named)
    (fault,) = told.value.errors
    assert str(told.value) == f"{fault['field']}: {fault['message']}"
    return [fault]


def test_a_new_key_is_kept_as_it_was_asked_for(mine: Tenant, owner: User):
    end = timezone.now() + timedelta(days=1)
    key, plain = make(
        name="  two \n words ",
        livemode=False,
        scopes=["admin", "read", "read"],
        created_by=owner,
        expires_at=end,
    )
    key.refresh_from_db()
    assert (key.name, key.livemode, key.scopes) == ("two words", False, ["read", "admin"])
    assert (key.created_by, key.expires_at, key.replaces, key.revoked_at) == (owner, end, None, None)
    assert key.hint == f"{plain[:12]}…{plain[-4:]}"
    assert owner_of(plain).key_id == key.pk
    event = AuditEvent.objects.get(verb="key.created")
    assert (event.actor, event.subject_id) == (ACTOR, str(key.pk))
    assert event.detail == {"name": "two words", "key": key.hint, "scopes": ["read", "admin"]}


def test_without_a_word_a_key_is_live_reaches_all_and_has_no_end(mine: Tenant):
    key, _ = make()
    assert (key.livemode, key.scopes, key.expires_at, key.created_by) == (
        True, ["read", "write", "admin"], None, None,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["", "  ", "x" * 81, "a\0b", "\u202ex"])
def test_a_name_that_is_none_is_refused(mine: Tenant, name: str):
    assert faults(make, name=name) == [
        {"field": "name", "message": "A name has 1 to 80 printable characters."}
    ]


def test_the_longest_and_the_shortest_name(mine: Tenant):
    assert make(name="x" * 80)[0].name == "x" * 80
    assert make(name="y")[0].name == "y"


@pytest.mark.parametrize("scopes", [[], ["fly"], ["read", "fly"]])
def test_scopes_that_are_none_are_refused(mine: Tenant, scopes: list[str]):
    assert faults(make, scopes=scopes) == [
        {"field": "scopes", "message": "Choose at least one out of: read, write, admin."}
    ]


def test_an_end_lies_ahead(mine: Tenant, monkeypatch: pytest.MonkeyPatch):
    now = timezone.now()
    monkeypatch.setattr("tenants.operations.keys.timezone.now", lambda: now)
    for end in (now, now - timedelta(days=1)):
        assert faults(make, expires_at=end) == [
            {"field": "expires_at", "message": "The expiry must lie in the future."}
        ]
    assert make(expires_at=now + timedelta(microseconds=1))


def test_a_key_gives_no_more_than_it_has(mine: Tenant):
    by = owner_of(make(scopes=["write"])[1])
    with pytest.raises(NotAllowed) as told:
        make(scopes=["admin", "read", "write"], by=by)
    assert str(told.value) == (
        "This key cannot give a scope that it does not have: admin, read. "
        "Use a key that has it, or the page “Developers”."
    )
    assert make(scopes=["write"], by=by)


def test_a_test_key_makes_test_keys_alone(mine: Tenant):
    by = owner_of(make(livemode=False)[1])
    with pytest.raises(NotAllowed) as told:
        make(by=by)
    assert str(told.value) == "A test key makes test keys alone: use a live key, or the page “Developers”."
    assert make(livemode=False, by=by)
    live = owner_of(make()[1])
    assert make(livemode=False, by=live)
    assert make(livemode=True, by=live)


def test_no_key_makes_one_that_outlives_it(mine: Tenant):
    end = timezone.now() + timedelta(hours=1)
    by = owner_of(make(expires_at=end)[1])
    with pytest.raises(NotAllowed) as told:
        make(expires_at=end + timedelta(microseconds=1), by=by)
    assert str(told.value) == (
        "A key cannot make one that outlives it. Give an earlier expiry, or use the page “Developers”."
    )
    sooner = end - timedelta(minutes=1)
    assert make(expires_at=sooner, by=by)[0].expires_at == sooner
    assert make(expires_at=end, by=by)[0].expires_at == end
    child, plain = make(by=by)
    assert child.expires_at == end
    assert make(by=owner_of(plain))[0].expires_at == end
    endless = owner_of(make()[1])
    assert make(by=endless)[0].expires_at is None
    assert make(expires_at=end, by=endless)[0].expires_at == end


def test_keys_that_ended_leave_room(mine: Tenant, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(keys, "MAX_ACTIVE", 2)
    first, _ = make()
    make(expires_at=timezone.now() + timedelta(days=1))
    with pytest.raises(Conflict) as told:
        make()
    assert str(told.value) == "A tenant has at most 2 active keys. Revoke those that nobody uses."
    revoke_api_key(key_id=first.pk, actor=ACTOR)
    second, _ = make()
    ApiKey.objects.filter(pk=second.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    make()
    assert ApiKey.objects.count() == 4


def test_a_replacement_is_as_its_key_and_both_work_for_a_day(mine: Tenant, owner: User):
    old, _ = make(livemode=False, scopes=["read"])
    before = timezone.now()
    new, plain = rotate_api_key(key_id=old.pk, actor=ACTOR, created_by=owner)
    old.refresh_from_db()
    new.refresh_from_db()
    assert (new.name, new.livemode, new.scopes, new.expires_at) == ("CRM", False, ["read"], None)
    assert (new.replaces, new.created_by) == (old, owner)
    assert owner_of(plain).key_id == new.pk
    assert plain.startswith("wk_test_")
    day = timedelta(days=1)
    assert before + day <= old.expires_at <= timezone.now() + day
    event = AuditEvent.objects.get(verb="key.rotated")
    assert (event.actor, event.subject_id) == (ACTOR, str(old.pk))
    assert event.detail == {
        "name": "CRM", "key": old.hint, "replaced_by": new.hint, "overlap_seconds": 86400,
    }  # fmt: skip


def test_the_replacement_of_a_live_key_looks_like_one(mine: Tenant):
    new, plain = rotate_api_key(key_id=make()[0].pk, actor=ACTOR)
    assert plain.startswith("wk_live_")
    assert (new.livemode, new.hint[:8], owner_of(plain).livemode) == (True, "wk_live_", True)


def test_a_replacement_lives_as_long_as_its_key_was_made_for_and_the_overlap_does_not_lengthen(mine: Tenant):
    old, _ = make(expires_at=timezone.now() + timedelta(hours=2))
    end = old.expires_at
    new, _ = rotate_api_key(key_id=old.pk, actor=ACTOR)
    old.refresh_from_db()
    assert old.expires_at == end
    assert new.expires_at
    assert timedelta(hours=1, minutes=59) < new.expires_at - timezone.now() <= timedelta(hours=2)
    # The first replacement was lost: what the key was made for is still known.
    revoke_api_key(key_id=new.pk, actor=ACTOR)
    again, _ = rotate_api_key(key_id=old.pk, actor=ACTOR, overlap_seconds=60)
    assert again.expires_at
    assert timedelta(hours=1, minutes=59) < again.expires_at - timezone.now() <= timedelta(hours=2)
    old.refresh_from_db()
    assert old.expires_at - timezone.now() <= timedelta(seconds=60)


def test_a_key_prolongs_nothing_by_rotation_and_a_person_may(mine: Tenant):
    now = timezone.now()
    end, later = now + timedelta(days=3), now + timedelta(days=90)
    old, plain = make(expires_at=end)
    ApiKey.objects.filter(pk=old.pk).update(created_at=now - timedelta(days=27))
    itself = owner_of(plain)
    first, _ = rotate_api_key(key_id=old.pk, actor=ACTOR, by=itself, overlap_seconds=3600)
    assert first.expires_at == end
    # The answer was lost; the key that asks again has an hour left, which is not what it was made for.
    revoke_api_key(key_id=first.pk, actor=ACTOR)
    again, _ = rotate_api_key(key_id=old.pk, actor=ACTOR, by=owner_of(plain))
    assert again.expires_at == end
    longer, endless = make(expires_at=later)[0], make()[0]
    assert rotate_api_key(key_id=longer.pk, actor=ACTOR, by=itself)[0].expires_at == end
    assert rotate_api_key(key_id=endless.pk, actor=ACTOR, by=itself)[0].expires_at == end
    # By a key without an end, or by a person: its whole length of life, thirty days.
    other, _ = make(expires_at=end)
    ApiKey.objects.filter(pk=other.pk).update(created_at=now - timedelta(days=27))
    by_key, _ = rotate_api_key(key_id=other.pk, actor=ACTOR, by=owner_of(make()[1]))
    revoke_api_key(key_id=by_key.pk, actor=ACTOR)
    by_person, _ = rotate_api_key(key_id=again.pk, actor=ACTOR)
    assert by_key.expires_at
    assert by_key.expires_at - now > timedelta(days=29)
    assert by_person.expires_at
    assert by_person.expires_at - now > timedelta(days=2)


@pytest.mark.parametrize("overlap", [-1, 30 * 86400 + 1])
def test_an_overlap_has_bounds(mine: Tenant, overlap: int):
    old, _ = make()
    assert faults(rotate_api_key, key_id=old.pk, actor=ACTOR, overlap_seconds=overlap) == [
        {"field": "overlap_seconds", "message": "A whole number from 0 to 2,592,000."}
    ]


@pytest.mark.parametrize("overlap", [0, 30 * 86400])
def test_the_bounds_of_an_overlap_are_allowed(mine: Tenant, overlap: int):
    old, _ = make()
    rotate_api_key(key_id=old.pk, actor=ACTOR, overlap_seconds=overlap)
    old.refresh_from_db()
    left = old.expires_at - timezone.now()
    assert timedelta(seconds=overlap - 5) < left <= timedelta(seconds=overlap)


def test_what_ended_or_was_replaced_is_not_replaced(mine: Tenant, monkeypatch: pytest.MonkeyPatch):
    old, _ = make()
    new, _ = rotate_api_key(key_id=old.pk, actor=ACTOR)
    with pytest.raises(Conflict) as told:
        rotate_api_key(key_id=old.pk, actor=ACTOR)
    assert str(told.value) == (
        f"This key was replaced by {new.hint} already. If that one was lost, revoke it and rotate again."
    )
    revoke_api_key(key_id=new.pk, actor=ACTOR)
    with pytest.raises(Conflict) as told:
        rotate_api_key(key_id=new.pk, actor=ACTOR)
    assert str(told.value) == "This key has been revoked. Create a new one."
    ended, _ = make(expires_at=timezone.now() + timedelta(hours=1))
    monkeypatch.setattr("tenants.operations.keys.timezone.now", lambda: ended.expires_at)
    with pytest.raises(Conflict) as told:
        rotate_api_key(key_id=ended.pk, actor=ACTOR)
    assert str(told.value) == "This key has expired. Create a new one."


def test_a_replacement_needs_the_reach_of_its_key(mine: Tenant):
    old, _ = make(scopes=["read", "admin"])
    weak = owner_of(make(scopes=["admin"])[1])
    with pytest.raises(NotAllowed, match="does not have: read"):
        rotate_api_key(key_id=old.pk, actor=ACTOR, by=weak)
    assert ApiKey.objects.count() == 2


@pytest.mark.parametrize("act", [rotate_api_key, revoke_api_key])
def test_a_test_key_does_not_find_live_keys(mine: Tenant, act: Any):
    live, test = make()[0], make(livemode=False)[0]
    by = owner_of(make(livemode=False)[1])
    with pytest.raises(NotFound) as told:
        act(key_id=live.pk, actor=ACTOR, by=by)
    assert str(told.value) == "There is no such key."
    with pytest.raises(NotFound):
        act(key_id=uuid.uuid4(), actor=ACTOR)
    act(key_id=test.pk, actor=ACTOR, by=by)
    act(key_id=live.pk, actor=ACTOR, by=owner_of(make()[1]))


def test_a_key_is_revoked_once_and_the_trail_says_which(mine: Tenant):
    key, _ = make()
    before = timezone.now()
    assert revoke_api_key(key_id=key.pk, actor=ACTOR).revoked_at is not None
    key.refresh_from_db()
    assert before <= key.revoked_at <= timezone.now()
    event = AuditEvent.objects.get(verb="key.revoked")
    assert (event.actor, event.subject_id) == (ACTOR, str(key.pk))
    assert event.detail == {"name": "CRM", "key": key.hint}
    with pytest.raises(Conflict) as told:
        revoke_api_key(key_id=key.pk, actor=ACTOR)
    assert str(told.value) == "This key has been revoked already."
