"""The plan's limits on requests: exact, in one script, said on every answer, and never in the way while Redis is away."""

import time
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any, Unpack

import pytest
import redis
from django.utils import timezone

from billing import api_calls, rates
from billing.operations.plans import OverriddenLimits, override_plan
from config.embedded.processes import free_port, wait_until
from tenants.scope import tenant_scope
from tests.api.test_errors import assert_problem
from tests.client import Api
from tests.factories import ACTOR, make_key, make_tenant
from tests.own_redis import start_redis


@pytest.fixture(autouse=True)
def _counting(monkeypatch):
    monkeypatch.setattr(api_calls._rest_after_failure, "until", 0.0)


@pytest.fixture
def free(db) -> uuid.UUID:
    return make_tenant(plan="free").tenant.pk


def agree(tenant_id, **changes: Unpack[OverriddenLimits]) -> None:
    with tenant_scope(tenant_id):
        override_plan(
            actor=ACTOR, reason="test", expires_at=timezone.now() + timedelta(days=1), changes=changes
        )


def ask(tenant_id, key_id=None, *, times=1):
    """What each of so many requests met: "" for let through, else the name of the limit."""
    key_id = key_id or uuid.uuid4()
    verdicts = [judged(tenant_id, key_id) for _ in range(times)]
    return [verdict.hit.name if verdict.hit else "" for verdict in verdicts]


def judged(tenant_id, key_id) -> rates.Verdict:
    verdict = rates.spend(tenant_id, key_id, livemode=True)
    assert verdict
    return verdict


def age(redis_client, tenant_id, seconds) -> None:
    """Let what was counted in the tenant's minute be so many seconds older."""
    key = f"weir:rate:{tenant_id}:minute"
    fields = {name.decode(): int(value) for name, value in redis_client.hgetall(key).items()}
    redis_client.delete(key)
    total = fields.pop("n")
    redis_client.hset(
        key, mapping={str(int(name) - seconds if name.isdigit() else name): value - seconds if not name.isdigit()
        else value for name, value in fields.items()} | {"n": total},
    )  # fmt: skip


def test_a_free_tenant_makes_100_requests_a_minute_over_all_of_its_keys(free):
    first, second = uuid.uuid4(), uuid.uuid4()
    assert ask(free, first, times=60) == [""] * 60
    assert ask(free, second, times=41) == [""] * 40 + ["tenant"]
    assert ask(free, first) == ["tenant"]


def test_a_key_has_a_limit_of_its_own_that_is_free_again_after_a_second(free):
    agree(free, requests_per_second=5)
    first, second = uuid.uuid4(), uuid.uuid4()
    assert ask(free, first, times=6) == [""] * 5 + ["key"]
    assert ask(free, second, times=5) == [""] * 5
    time.sleep(1.15)
    assert ask(free, first) == [""]


def test_what_one_limit_refused_does_not_count_in_the_other(free):
    agree(free, requests_per_second=5)
    ask(free, times=50)
    verdict = judged(free, uuid.uuid4())
    assert verdict.policies[1].remaining == 100 - 5 - 1


def test_in_no_window_is_more_let_through_than_the_limit(free):
    agree(free, requests_per_second=20, requests_per_minute=1_000)
    key, starts, ends = uuid.uuid4(), [], []
    until = time.monotonic() + 2.3
    while time.monotonic() < until:
        before = time.monotonic()
        if ask(free, key) == [""]:
            starts.append(before)
            ends.append(time.monotonic())
    for begin in starts:
        assert sum(begin <= start and end < begin + 1 for start, end in zip(starts, ends, strict=True)) <= 20
    assert len(starts) >= 60  # three windows' worth: what is free is not held back


def test_the_minute_slides(free, redis_client):
    ask(free, times=100)
    age(redis_client, free, 59)
    assert ask(free) == ["tenant"]
    age(redis_client, free, 2)
    assert ask(free, times=101) == [""] * 100 + ["tenant"]


def test_16_callers_at_once_get_exactly_what_there_is(free):
    rates.spend(free, uuid.uuid4(), livemode=True)  # the limits are read here, where the test's rows are
    with ThreadPoolExecutor(16) as pool:
        met = Counter(
            outcome for one in pool.map(lambda _: ask(free, times=20), range(16)) for outcome in one
        )
    assert met == {"": 99, "tenant": 16 * 20 - 99}


class TestAnswers:
    @pytest.fixture
    def caller(self, db) -> Api:
        self.tenant = make_tenant(plan="free").tenant
        return Api(make_key(self.tenant))

    def test_each_says_how_the_caller_stands(self, caller):
        caller.get("/tenant")
        answer = caller.get("/tenant")
        assert (answer["X-RateLimit-Limit"], answer["X-RateLimit-Remaining"]) == ("100", "98")
        assert 58 <= int(answer["X-RateLimit-Reset"]) - time.time() <= 63
        assert answer["RateLimit-Policy"] == '"key";q=100;w=1, "tenant";q=100;w=60'
        assert answer["RateLimit"].startswith('"key";r=')
        assert '"tenant";r=98;t=6' in answer["RateLimit"]

    def test_errors_count_and_say_so_too(self, caller):
        assert caller.get("/runs/0199c000-0000-7000-8000-000000000000")["X-RateLimit-Remaining"] == "99"
        key = Api(make_key(self.tenant, scopes=["read"]))
        refused = key.post("/keys", {"name": "x"})
        assert (refused.status_code, refused["X-RateLimit-Remaining"]) == (403, "98")

    def test_too_many_are_refused_by_name_with_when_to_come_back(self, caller):
        agree(self.tenant.pk, requests_per_minute=2)
        answers = [caller.get("/tenant") for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        problem = assert_problem(answers[2], 429, "rate_limited")
        assert "“tenant”: 2 requests in any minute" in problem["detail"]
        assert 55 <= int(answers[2]["Retry-After"]) <= 61
        assert (answers[2]["X-RateLimit-Limit"], answers[2]["X-RateLimit-Remaining"]) == ("2", "0")

    def test_the_limit_of_a_key_is_named_and_shown_when_it_is_hit(self, caller):
        agree(self.tenant.pk, requests_per_second=1)
        answers = [caller.get("/tenant") for _ in range(2)]
        assert "“key”: 1 requests in any second" in assert_problem(answers[1], 429, "rate_limited")["detail"]
        assert (answers[1]["Retry-After"], answers[1]["X-RateLimit-Limit"]) in (("1", "1"), ("2", "1"))

    def test_a_refused_request_has_done_nothing(self, caller):
        agree(self.tenant.pk, requests_per_minute=1)
        caller.get("/tenant")
        assert caller.patch("/tenant", {"name": "Other"}).status_code == 429
        with tenant_scope(self.tenant):
            self.tenant.refresh_from_db()
        assert self.tenant.name != "Other"

    def test_test_keys_have_the_same_limits(self, caller):
        agree(self.tenant.pk, requests_per_minute=2)
        caller.get("/tenant")
        answer = Api(make_key(self.tenant, livemode=False)).get("/tenant")
        assert answer["X-RateLimit-Remaining"] == "0"

    def test_while_redis_is_away_requests_are_served_and_counted_as_unchecked(self, caller, settings):
        agree(self.tenant.pk, requests_per_minute=1)
        settings.REDIS_URL = "redis://127.0.0.1:1/0"
        api_calls._client.cache_clear()
        before = rates.UNCHECKED._value.get()
        try:
            answers = [caller.get("/tenant") for _ in range(3)]
        finally:
            api_calls._client.cache_clear()
        assert [answer.status_code for answer in answers] == [200] * 3
        assert not any("X-RateLimit-Limit" in answer for answer in answers)
        assert rates.UNCHECKED._value.get() - before == 3


def remaining(tenant_id, key_id) -> int:
    return judged(tenant_id, key_id).policies[-1].remaining


@pytest.fixture
def own_redis(settings, tmp_path) -> Iterator["redis.Redis"]:
    """One that nobody else counts in."""
    port = free_port(None)
    process = start_redis(port, tmp_path)
    settings.REDIS_URL = f"redis://127.0.0.1:{port}/0"
    api_calls._client.cache_clear()
    try:
        with redis.Redis.from_url(settings.REDIS_URL) as client:
            wait_until(lambda: answers(client), seconds=10)
            yield client
    finally:
        api_calls._client.cache_clear()
        process.kill()
        process.wait()


def answers(client: "redis.Redis") -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


def test_a_redis_that_was_started_anew_is_asked_at_once(free, own_redis):
    key = uuid.uuid4()
    before = remaining(free, key)
    own_redis.client_kill_filter(_type="normal", skipme=True)
    own_redis.script_flush()
    assert remaining(free, key) == before - 1


def test_what_one_thread_finds_dead_no_other_uses(free, own_redis):
    def used() -> Any:
        ask(free)
        kept = api_calls._thread.kept
        assert kept
        return kept[1]

    first = used()
    api_calls.rest(redis.TimeoutError())  # as another thread would
    api_calls._rest_after_failure.until = 0.0
    second = used()
    assert second is not first
    assert used() is second


def test_an_answer_that_came_too_late_is_nobody_elses(free, own_redis):
    key = uuid.uuid4()
    ask(free, key, times=7)
    own_redis.client_pause(700)
    assert rates.spend(free, key, livemode=True) is None
    time.sleep(0.4)
    api_calls._rest_after_failure.until = 0.0
    verdict = judged(make_tenant().tenant.pk, uuid.uuid4())  # nobody else has asked for this one
    assert verdict.policies[-1].quota - verdict.policies[-1].remaining == 1


def test_it_costs_less_than_half_a_millisecond(free):
    key = uuid.uuid4()
    ask(free, key, times=20)
    taken = []
    for _ in range(200):
        began = time.perf_counter()
        rates.spend(free, key, livemode=True)
        taken.append(time.perf_counter() - began)
    assert sorted(taken)[len(taken) // 4] < 0.0005  # the machine does other things too
