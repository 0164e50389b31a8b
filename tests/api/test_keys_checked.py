"""The check of a key: what is none is refused without a question, what ended is refused in time, and it costs little."""

import os
import random
import time
from datetime import timedelta

import psycopg
import pytest
from django.db import connections
from django.test import RequestFactory
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tenants import api_keys
from tenants.api import authentication
from tenants.models import ApiKey
from tenants.operations import key_use
from tenants.operations.keys import revoke_api_key
from tenants.operations.tenants import suspend_tenant
from tenants.scope import tenant_scope
from tests.api.test_errors import assert_problem
from tests.client import Api
from tests.factories import ACTOR, make_key

WANTED = 10_000
IN_TIME_S = 1.0
JUNK = [
    "", " ", "wk_live_", "wk_test_" + "0" * 49, "wk_live_" + "é" * 49, "wk_live_" + "\0" * 49, "wk_prod_" + "a" * 49,
    "null", "undefined", "Bearer", "' OR 1=1 --", "\x00", "💧" * 20, "a" * 9_000, "wk_live_" + "a" * 49 + "\n",
]  # fmt: skip


def mutations(plain: str, seed: int):
    """Endlessly: the key with a typing error in it."""
    chance = random.Random(seed)
    while True:
        at = chance.randrange(len(plain))
        other = chance.choice(api_keys.ALPHABET)
        match chance.randrange(6):
            case 0:
                mutant = plain[:at] + other + plain[at + 1 :]
            case 1:
                mutant = plain[:at] + plain[at + 1 :]
            case 2:
                mutant = plain[:at] + other + plain[at:]
            case 3:
                mutant = plain[: at - 1] + plain[at : at + 1] + plain[at - 1 : at] + plain[at + 1 :]
            case 4:
                mutant = plain.swapcase()
            case _:
                mutant = plain[:at] + chance.choice("-_ .é\0\u200b") + plain[at + 1 :]
        if mutant.strip() != plain:
            yield mutant


def test_ten_thousand_mistyped_keys_are_refused_without_a_question_to_the_database(api_key):
    found = mutations(api_key, seed=1)
    tried = JUNK + [next(found) for _ in range(WANTED - len(JUNK))]
    check = authentication.ApiKeyAuthentication()
    factory = RequestFactory()
    with CaptureQueriesContext(connections["default"]) as queries:
        for number, plain in enumerate(tried):
            header = {"HTTP_AUTHORIZATION": f"Bearer {plain}"} if number % 2 else {"HTTP_X_API_KEY": plain}
            with pytest.raises(authentication.InvalidKey):
                check.authenticate(factory.get("/api/v1/tenant", **header))  # type: ignore[arg-type]
    assert len(tried) == WANTED
    assert len(queries) == 0


def test_mistyped_keys_get_the_same_answer_through_the_whole_stack_and_no_query(api_key):
    found = mutations(api_key, seed=2)
    tried = [next(found) for _ in range(200)]
    with CaptureQueriesContext(connections["default"]) as queries:
        bodies = {
            assert_problem(Api(plain).get("/tenant"), 401, "invalid_api_key")["detail"] for plain in tried
        }
    assert len(queries) == 0
    assert len(bodies) == 1


@pytest.mark.parametrize("header", ["Basic d2s6", "Token x", "bearer", "Bearer"])
def test_another_scheme_is_refused(db, header):
    assert_problem(Api("").get("/tenant", Authorization=header), 401, "invalid_api_key")


def test_a_well_formed_key_that_nobody_made_is_refused_like_a_mistyped_one(api_key):
    unknown = assert_problem(
        Api(api_keys.new_key(livemode=True).plain).get("/tenant"), 401, "invalid_api_key"
    )
    mistyped = assert_problem(Api(api_key[:-1]).get("/tenant"), 401, "invalid_api_key")
    assert unknown | {"request_id": ""} == mistyped | {"request_id": ""}


def seconds_until_refused(plain: str) -> float:
    """How long a key that works is believed in after now."""
    began = time.monotonic()
    while Api(plain).get("/tenant").status_code == 200:
        assert time.monotonic() - began < 5
        time.sleep(0.02)
    return time.monotonic() - began


def test_an_ended_key_is_refused_within_a_second_although_it_is_remembered(committed, tenant):
    """As another process would see it: nothing here forgets the key when it is revoked."""
    assert authentication.CACHE_SECONDS <= IN_TIME_S
    for end in ("revoke", "expire", "suspend"):
        plain = make_key(tenant, name=end)
        assert Api(plain).get("/tenant").status_code == 200
        with tenant_scope(tenant):
            key = ApiKey.objects.get(name=end)
            if end == "revoke":
                revoke_api_key(key_id=key.pk, actor=ACTOR)
            elif end == "expire":
                ApiKey.objects.filter(pk=key.pk).update(expires_at=timezone.now())
            else:
                suspend_tenant(actor=ACTOR)
        # The last request that is let in may begin just before; a busy machine takes its time over the next one.
        assert seconds_until_refused(plain) <= IN_TIME_S + 0.7, end


def test_a_key_whose_end_is_known_is_refused_at_that_moment(tenant):
    end = timezone.now() + timedelta(seconds=1)
    plain = make_key(tenant, expires_at=end)
    assert Api(plain).get("/tenant").status_code == 200
    seconds_until_refused(plain)
    assert timezone.now() - end < timedelta(seconds=0.5)


def check_of(plain: str):
    request = RequestFactory().get("/", HTTP_AUTHORIZATION=f"Bearer {plain}")
    return lambda: authentication.ApiKeyAuthentication().authenticate(request)  # type: ignore[arg-type]


def median_ms(action, times: int) -> float:
    spent = []
    for _ in range(times):
        began = time.perf_counter()
        action()
        spent.append((time.perf_counter() - began) * 1000)
    return sorted(spent)[times // 2]


def test_the_check_costs_less_than_a_millisecond(committed, tenant, record_property):
    check = check_of(make_key(tenant))
    check()
    remembered = median_ms(check, 500)

    def asked() -> None:
        authentication.OWNERS.forget()
        check()

    asks = median_ms(asked, 100)
    record_property("remembered_ms", remembered)
    record_property("asked_ms", asks)
    print(f"key check: {remembered:.3f} ms remembered, {asks:.3f} ms with a question to the database")
    assert remembered <= 1.0
    assert asks <= 10.0  # its own figure is under 1 ms on a machine that does nothing else


def test_only_one_request_in_a_second_asks_the_database_for_its_key(tenant):
    check = check_of(make_key(tenant))
    check()
    with CaptureQueriesContext(connections["default"]) as queries:
        for _ in range(50):
            check()
    assert len(queries) == 0


def last_used(tenant, **wanted):
    with tenant_scope(tenant):
        return ApiKey.objects.get(**wanted).last_used_at


def test_the_use_of_a_key_is_noted_and_shown(api, tenant):
    assert last_used(tenant) is None
    assert api.get("/keys").json()["data"][0]["last_used_at"] is not None
    assert abs((timezone.now() - last_used(tenant)).total_seconds()) < 5


def test_use_is_noted_once_a_minute_by_one_process_and_by_several(api, tenant):
    api.get("/tenant")
    first = last_used(tenant)
    with CaptureQueriesContext(connections["default"]) as queries:
        for _ in range(20):
            api.get("/tenant")
    assert not [query for query in queries if "last_used_at" in query["sql"] and "UPDATE" in query["sql"]]
    key_use._noted.clear()  # another process
    api.get("/tenant")
    assert last_used(tenant) == first
    with tenant_scope(tenant):
        ApiKey.objects.update(last_used_at=first - timedelta(minutes=2))
    key_use._noted.clear()
    api.get("/tenant")
    assert last_used(tenant) >= first


def test_a_refused_key_is_not_in_use(tenant):
    plain = make_key(tenant)
    with tenant_scope(tenant):
        ApiKey.objects.update(expires_at=timezone.now())
    assert Api(plain).get("/tenant").status_code == 401
    assert last_used(tenant) is None


def test_a_key_that_is_being_changed_keeps_nobody_waiting(committed, tenant):
    plain = make_key(tenant)
    with psycopg.connect(os.environ["DATABASE_URL"]) as other:
        other.execute("SELECT set_config('app.tenant_id', %s, true)", [str(tenant.pk)])
        other.execute("SELECT 1 FROM tenants_apikey FOR UPDATE")
        began = time.monotonic()
        assert Api(plain).get("/tenant").status_code == 200
        assert time.monotonic() - began < 2
    assert last_used(tenant) is None


def test_a_use_that_cannot_be_noted_costs_nothing_else(api, monkeypatch):
    monkeypatch.setattr(key_use, "_NOTE", "SELECT nonsense %s %s %s")
    assert api.get("/tenant").status_code == 200
