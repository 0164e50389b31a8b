"""Secrets stay out of logs and error reports; every line says which request it belongs to."""

import io
import json
import logging
import logging.config
import secrets

import pytest
import structlog
from django.conf import settings
from django.test import RequestFactory
from django.views.debug import ExceptionReporter

from config.error_reports import before_send
from config.masking import scrub, scrub_text
from config.observability import logging_config
from tenants.secret import MASK, Secret

SECRETS = [
    "wk_live_a1b2c3d4e5f6g7h8",
    "wk_test_a1b2c3d4e5f6g7h8",
    "sk_live_a1b2c3d4e5f6g7h8",
    "whsec_a1b2c3d4e5f6g7h8==",
]


@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_known_by_its_form_is_masked_wherever_it_stands(secret: str):
    assert secret not in scrub(f"called with {secret} today")
    assert secret not in json.dumps(scrub({"a": [{"b": (f"x {secret}",)}]}))


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://weir_app:hunter2secret@db/weir",
        "redis://:hunter2secret@redis:6379/0",
        "Authorization: Bearer hunter2secret",
        "https://api.example.com/v2/validate?api_key=hunter2secret&email=x",
        "https://api.example.com/v2/validate?apikey=hunter2secret",
        "https://api.example.com/?token=hunter2secret",
        "Internal Server Error: /hooks/xero/hunter2secret",
        "Not Found: /accounts/password/reset/key/hunter2secret/",
    ],
)
def test_secrets_inside_addresses_and_headers_are_masked(text: str):
    assert "hunter2secret" not in scrub(text)


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "secret",
        "API_KEY",
        "api-key",
        "Authorization",
        "Cookie",
        "token",
        "SENTRY_DSN",
        "DATABASE_URL",
    ],
)
def test_a_value_whose_name_gives_it_away_is_masked(name: str):
    assert scrub({name: "hunter2"}) == {name: MASK}


def test_harmless_things_stay_readable():
    event = {
        "event": "request",
        "status": 200,
        "route": "api/v1/runs",
        "keyed": 3,
        "url": "https://example.com/a?b=c",
    }
    assert scrub(event) == event


def test_endless_nesting_ends():
    nested: dict[str, object] = {}
    inner = nested
    for _ in range(50):
        inner["a"] = {}
        inner = inner["a"]  # type: ignore[assignment]
    assert MASK in json.dumps(scrub(nested))


@pytest.fixture
def lines():
    """What a logger configured as in a server process writes, parsed."""
    config = logging_config(readable=False)
    out = io.StringIO()
    config["handlers"]["stderr"]["stream"] = out
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    logging.config.dictConfig(config)
    yield lambda: [json.loads(line) for line in out.getvalue().splitlines()]
    root.handlers[:], _ = before
    root.setLevel(before[1])


def test_a_line_is_json_with_time_level_logger_and_request_id(lines):
    with structlog.contextvars.bound_contextvars(request_id="abc12345"):
        structlog.stdlib.get_logger("weir.test").info("hello", count=3)
    (line,) = lines()
    assert (line["event"], line["count"], line["level"], line["logger"]) == ("hello", 3, "info", "weir.test")
    assert line["request_id"] == "abc12345"
    assert line["timestamp"].endswith("Z")


def test_lines_of_libraries_get_the_same_form_and_the_same_mask(lines):
    logging.getLogger("some.library").warning("could not reach %s", "redis://:hunter2secret@redis:6379/0")
    (line,) = lines()
    assert line["logger"] == "some.library"
    assert "hunter2secret" not in json.dumps(line)


def test_an_exception_is_logged_whole_but_its_secrets_are_not(lines):
    held = "local-value-of-somebody"
    try:
        raise ValueError("bad key wk_live_a1b2c3d4e5f6g7h8", len(held))
    except ValueError:
        logging.getLogger("weir.test").exception("failed")
    (line,) = lines()
    assert line["exception"][0]["exc_type"] == "ValueError"
    assert "wk_live_a1b2c3d4e5f6g7h8" not in json.dumps(line)
    assert "local-value-of-somebody" not in json.dumps(line)


def test_what_leaves_for_sentry_is_scrubbed_and_carries_the_request_id():
    event = {
        "message": "sk_live_a1b2c3d4e5f6g7h8",
        "request": {"headers": {"Authorization": "Bearer x1y2z3"}, "cookies": {"weir_session": "x1y2z3"}},
        "exception": {"values": [{"value": "postgresql://weir_app:x1y2z3@db/weir"}]},
    }
    with structlog.contextvars.bound_contextvars(request_id="abc12345"):
        sent = before_send(event, {})
    assert sent["tags"]["request_id"] == "abc12345"
    assert "x1y2z3" not in json.dumps(sent)
    assert "sk_live_a1b2c3d4e5f6g7h8" not in json.dumps(sent)


HEADERS = {"X-KEY": "hunter2secret", "Content-Type": "application/json"}


@pytest.mark.parametrize(
    "text",
    [
        repr(HEADERS),
        json.dumps(HEADERS),
        json.dumps({"said": json.dumps(HEADERS)}),
        "X-API-KEY: hunter2secret",
        "headers=[(b'X-Api-Key': b'hunter2secret')]",
        "Authorization: Basic hunter2secret",
        "{'Authorization': 'Token hunter2secret'}".replace("Token ", ""),
        "Cookie: hunter2secret; path=/",
        '{"client_secret":"hunter2secret","refresh_token": "hunter2secret"}',
        "connection failed: user=weir_app password='hunter2secret' host=db",
    ],
)
def test_headers_and_fields_are_masked_as_they_stand_in_text(text: str):
    assert "hunter2secret" not in scrub(text)


class Unhappy(Exception):
    def __str__(self) -> str:
        return "refused: the-vendors-key/4711"


@pytest.mark.parametrize(
    "value",
    [
        Unhappy(),
        {"said": "the vendor's body: the-vendors-key/4711"},
        {"the-vendors-key/4711": 1},
        "https://vendor.example/?k=the-vendors-key%2F4711&email=x",
        b'{"key": "the-vendors-key/4711"}',
        [("the-vendors-key/4711",)],
        {"error": ValueError("the-vendors-key/4711")},
    ],
)
def test_a_secret_that_is_alive_is_masked_in_whatever_form_it_turns_up(value: object):
    alive = Secret("the-vendors-key/4711")
    assert "4711" not in json.dumps(scrub(value))
    assert "4711" not in json.dumps(scrub({"secret_object": alive, "a": [alive]}))


@pytest.mark.parametrize("readable", [True, False])
def test_lines_for_people_are_masked_as_well(readable: bool, capsys: pytest.CaptureFixture[str]):
    config = logging_config(readable=readable)
    out = io.StringIO()
    config["handlers"]["stderr"]["stream"] = out
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    alive = Secret("the-vendors-key/4711")
    try:
        logging.config.dictConfig(config)
        try:
            raise Unhappy
        except Unhappy as error:
            structlog.stdlib.get_logger("weir.test").exception("failed", secret=alive, error=error)
            logging.getLogger("some.library").warning("said %s about %r", error, alive)
    finally:
        root.handlers[:], _ = before
        root.setLevel(before[1])
    assert "4711" not in out.getvalue()
    assert "Unhappy" in out.getvalue()


def test_the_secrets_of_the_environment_are_masked_in_this_process():
    shown = {
        "settings": [settings.SECRET_KEY, *settings.VAULT_KEYS],
        "database": settings.DATABASES["default"]["PASSWORD"],
    }
    text = json.dumps(shown)
    assert settings.SECRET_KEY in text
    clean = scrub_text(text)
    for value in (settings.SECRET_KEY, *settings.VAULT_KEYS, settings.DATABASES["default"]["PASSWORD"]):
        assert len(value) < 8 or value not in clean


def test_the_page_for_errors_while_developing_is_masked():
    # Made now: the page shows the source as it is.
    vendor, typed, token = (secrets.token_hex(12) for _ in range(3))
    alive = Secret(vendor)
    request = RequestFactory().post(
        "/app/vendors/new/",
        {"secret": typed, "name": "Team key"},
        headers={"Authorization": f"Bearer {token}"},
    )
    try:
        header = {"X-KEY": alive.reveal()}
        raise ValueError("told", len(header))
    except ValueError as error:
        reporter = ExceptionReporter(request, type(error), error, error.__traceback__)
    html = reporter.get_traceback_html()
    assert "Team key" in html
    assert "X-KEY" in html
    assert [value for value in (vendor, token) if value in html] == []
    assert f"secret={typed}" not in html
    posted = reporter.get_traceback_data()["filtered_POST_items"]
    assert dict(posted) == {"secret": MASK, "name": "Team key"}


def test_the_page_for_errors_shows_no_password_of_settings_or_environment(settings):
    passwords = {
        name: secrets.token_hex(12) for name in ("DATABASE_OWNER_URL", "REDIS_URL", "CELERY_BROKER_URL")
    }
    urls = {name: f"scheme://weir:{password}@db.example/0" for name, password in passwords.items()}
    settings.CELERY_BROKER_URL = urls["CELERY_BROKER_URL"]
    settings.CACHES = {"default": settings.CACHES["default"] | {"LOCATION": urls["REDIS_URL"]}}
    request = RequestFactory().get("/app/")
    request.META.update(urls)
    try:
        raise ValueError("told")
    except ValueError as error:
        html = ExceptionReporter(request, type(error), error, error.__traceback__).get_traceback_html()
    assert "CELERY_BROKER_URL" in html
    assert [name for name, password in passwords.items() if password in html] == []


def test_the_page_for_errors_comes_out_when_a_repr_raises():
    class Unshown:
        def __repr__(self) -> str:
            raise LookupError("not here")

    local = Unshown()
    try:
        raise ValueError("told", id(local))
    except ValueError as error:
        html = ExceptionReporter(None, type(error), error, error.__traceback__).get_traceback_html()
    assert "repr raised LookupError" in html
