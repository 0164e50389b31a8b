"""Guesses are counted by who is asked for and by who asks, whatever the caller says of itself, with Redis or without."""

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.core.cache import cache
from django.test import Client

from config.embedded.processes import free_port
from tests.factories import PASSWORD, make_user
from tests.own_redis import start_redis

if TYPE_CHECKING:
    from tenants.models import Tenant, User

pytestmark = pytest.mark.django_db

TOO_MANY = "Too many attempts"
GUESSES = 5


def guess(email: str, password: str = "guess", ip: str = "192.0.2.1", **extra: str) -> Any:
    return Client(REMOTE_ADDR=ip).post("/accounts/login/", {"login": email, "password": password}, **extra)  # type: ignore[arg-type]


def is_refused(answer: Any) -> bool:
    return answer.status_code == 429 or TOO_MANY in answer.content.decode()


class TestSigningIn:
    def test_five_guesses_close_the_door_even_to_the_right_password(self, owner: "User"):
        for number in range(GUESSES):
            assert not is_refused(guess(owner.email, ip=f"192.0.2.{number}"))
        assert is_refused(guess(owner.email, PASSWORD, ip="192.0.2.99"))

    def test_nobody_else_stands_before_that_door(self, owner: "User", tenant: "Tenant"):
        for _ in range(GUESSES + 1):
            guess(owner.email, ip="192.0.2.1")
        assert guess(make_user(tenant).email, PASSWORD, ip="192.0.2.2").status_code == 302

    def test_the_case_of_the_address_makes_no_other_door(self, owner: "User"):
        for _ in range(GUESSES):
            guess(owner.email.upper())
        assert is_refused(guess(owner.email, PASSWORD, ip="192.0.2.9"))

    def test_another_port_in_the_host_header_makes_no_other_door(self, owner: "User"):
        for number in range(GUESSES):
            guess(owner.email, ip=f"192.0.2.{number}", HTTP_HOST=f"testserver:{8000 + number}")
        assert is_refused(guess(owner.email, PASSWORD, ip="192.0.2.9", HTTP_HOST="testserver:9000"))

    def test_one_caller_cannot_try_many_people(self, db: None):
        answers = [is_refused(guess(f"person{number}@acme.example")) for number in range(12)]
        assert answers == [False] * 10 + [True] * 2

    def test_what_the_caller_says_of_itself_does_not_count(self, db: None):
        answers = [
            is_refused(guess(f"person{number}@acme.example", HTTP_X_FORWARDED_FOR=f"198.51.100.{number}"))
            for number in range(12)
        ]
        assert answers[10:] == [True, True]

    def test_behind_a_proxy_of_ours_its_word_counts_and_only_its(self, settings: Any):
        settings.TRUSTED_PROXIES = 1
        said = [f"198.51.100.{number}, 203.0.113.7" for number in range(12)]
        answers = [
            is_refused(guess(f"p{n}@acme.example", HTTP_X_FORWARDED_FOR=text)) for n, text in enumerate(said)
        ]
        assert answers[10:] == [True, True]
        assert not is_refused(guess("p99@acme.example", HTTP_X_FORWARDED_FOR="203.0.113.7, 203.0.113.8"))

    def test_addresses_of_one_ipv6_network_are_one_caller(self, db: None):
        answers = [is_refused(guess(f"p{n}@acme.example", ip=f"2001:db8:1:2::{n:x}")) for n in range(1, 13)]
        assert answers[10:] == [True, True]

    def test_signing_in_does_not_wipe_the_count(self, owner: "User", tenant: "Tenant"):
        for _ in range(GUESSES - 1):
            guess(owner.email)
        assert guess(owner.email, PASSWORD).status_code == 302
        guess(owner.email)
        assert is_refused(guess(owner.email))


def test_codes_of_the_second_factor_are_limited(owner: "User"):
    from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
    from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret

    TOTP.activate(owner, generate_totp_secret())
    codes = RecoveryCodes.activate(owner).generate_codes()
    client = Client()
    client.post("/accounts/login/", {"login": owner.email, "password": PASSWORD})
    for _ in range(GUESSES):
        client.post("/accounts/2fa/authenticate/", {"code": "000000"})
    answer = Client(REMOTE_ADDR="192.0.2.50")
    answer.post("/accounts/login/", {"login": owner.email, "password": PASSWORD})
    assert is_refused(answer.post("/accounts/2fa/authenticate/", {"code": codes[0]}))


@pytest.mark.parametrize(
    ("path", "fields", "allowed"),
    [
        ("/accounts/signup/", {"email": "p{}@acme.example", "password1": "a long enough phrase"}, 5),
        ("/accounts/password/reset/", {"email": "p{}@acme.example"}, 5),
        ("/accounts/password/reset/", {"email": "same@acme.example"}, 3),
    ],
)
def test_what_sends_mail_is_limited(path: str, fields: dict[str, str], allowed: int):
    answers = [
        Client().post(path, {name: value.format(number) for name, value in fields.items()})
        for number in range(allowed + 1)
    ]
    assert [is_refused(answer) for answer in answers] == [False] * allowed + [True]


def test_the_page_says_what_to_do(db: None):
    for number in range(6):
        answer = Client().post("/accounts/password/reset/", {"email": f"p{number}@acme.example"})
    html = answer.content.decode()
    assert answer.status_code == 429
    assert "Wait a few minutes" in html
    assert "weir.css" in html or "weir." in html


@pytest.fixture
def point_to(settings: Any) -> Iterator[Callable[[int], None]]:
    """`point_to(port)`: the cache is the Redis at that port from now on."""

    def pointed(port: int) -> None:
        default = settings.CACHES["default"] | {"LOCATION": f"redis://127.0.0.1:{port}/0"}
        settings.CACHES = {"default": default}
        cache.clear()
        forget_rest()

    yield pointed
    forget_rest()


def forget_rest() -> None:
    from config.cache import SteadyRedisCache

    SteadyRedisCache._rest_until = 0.0


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A Redis of this test's own, to be killed; its port is its `args[-1]`."""
    import redis

    port = free_port(26_000)
    process = start_redis(port, tmp_path)
    with redis.Redis(port=port) as client:
        for _ in range(100):
            try:
                client.ping()
                break
            except redis.ConnectionError:
                time.sleep(0.05)
    yield process
    process.kill()
    process.wait()


class TestWithoutRedis:
    def test_people_sign_in_and_guesses_stay_limited(self, point_to: Any, owner: "User", tenant: "Tenant"):
        point_to(free_port(26_500))
        began = time.monotonic()
        assert guess(owner.email, PASSWORD).status_code == 302
        for _ in range(GUESSES):
            assert not is_refused(guess(owner.email))
        assert is_refused(guess(owner.email, PASSWORD, ip="192.0.2.9"))
        assert guess(make_user(tenant).email, PASSWORD, ip="192.0.2.2").status_code == 302
        assert time.monotonic() - began < 20, "a request does not wait for Redis again and again"

    def test_what_was_counted_stays_counted_when_redis_is_killed(
        self, point_to: Any, own_redis: Any, owner: "User", tenant: "Tenant"
    ):
        point_to(int(own_redis.args[-1]))
        for number in range(3):
            assert not is_refused(guess(owner.email, ip=f"192.0.2.{number}"))
        own_redis.kill()
        own_redis.wait()
        for number in range(3, GUESSES):
            assert not is_refused(guess(owner.email, ip=f"192.0.2.{number}"))
        assert is_refused(guess(owner.email, PASSWORD, ip="192.0.2.99"))
        assert guess(make_user(tenant).email, PASSWORD, ip="192.0.2.98").status_code == 302

    def test_a_code_of_the_app_still_works_once(self, point_to: Any, owner: "User"):
        from allauth.mfa.totp.internal.auth import TOTP, format_hotp_value, generate_totp_secret, hotp_value

        point_to(free_port(26_500))
        secret = generate_totp_secret()
        TOTP.activate(owner, secret)
        code = format_hotp_value(hotp_value(secret, int(time.time()) // 30))
        answers = []
        for _ in range(2):
            client = Client()
            client.post("/accounts/login/", {"login": owner.email, "password": PASSWORD})
            answers.append(client.post("/accounts/2fa/authenticate/", {"code": code}).status_code)
        assert answers == [302, 200]

    def test_redis_is_asked_again_after_a_rest(self, point_to: Any, own_redis: Any, owner: "User"):
        import redis

        point_to(free_port(26_500))
        guess(owner.email)
        point_to(int(own_redis.args[-1]))
        guess(owner.email)
        with redis.Redis(port=int(own_redis.args[-1])) as client:
            assert any(b"login_failed" in key for key in client.keys("*"))
