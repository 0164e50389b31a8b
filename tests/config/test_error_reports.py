"""What really leaves for the error tracker: the library as it is set up, with a listener at the other end."""

import logging
from collections.abc import Iterator

import pytest
import sentry_sdk

from config.error_reports import report_errors
from tenants.secret import Secret
from tests.invariants.secrets_tour.listeners import Listener, tracker

PLAIN = "the-vendors/key+4711"


@pytest.fixture
def errors(settings) -> Iterator[Listener]:
    client = sentry_sdk.get_global_scope().client
    with tracker() as listener:
        settings.SENTRY_DSN = f"http://public@127.0.0.1:{listener.port}/1"
        report_errors()
        yield listener
        sentry_sdk.get_client().close(timeout=5)
        sentry_sdk.get_global_scope().set_client(client)


def sent(errors: Listener) -> str:
    sentry_sdk.flush(timeout=10)
    return "\n".join(request.decode("utf-8", "replace") for request in errors.requests)


def fail(secret: Secret) -> None:
    plain = secret.reveal()
    header = {"X-KEY": plain}
    raise ValueError(f"the vendor said: {plain} is not known", header)


def test_an_error_leaves_without_the_secret_that_caused_it(errors: Listener):
    secret = Secret(PLAIN)
    logging.getLogger("weir.test").warning("asking with %s", {"X-KEY": PLAIN})
    sentry_sdk.set_extra("secret_object", secret)
    sentry_sdk.set_context("call", {"argument": [PLAIN], "url": f"https://vendor.example/?api_key={PLAIN}"})
    sentry_sdk.add_breadcrumb(message=f"GET https://vendor.example/?k={PLAIN}", data={"http.query": PLAIN})
    try:
        fail(secret)
    except ValueError as error:
        sentry_sdk.capture_exception(error)
    sentry_sdk.capture_message(f"the key {PLAIN} was refused")
    told = sent(errors)
    assert "is not known" in told
    assert "was refused" in told
    assert "4711" not in told
    assert '"vars"' not in told


def test_only_the_named_integrations_listen(errors: Listener):
    active = sentry_sdk.get_client().integrations
    assert {"django", "celery", "logging"} <= set(active)
    assert not {"aiohttp", "redis", "boto3", "httpx", "graphene", "huggingface_hub"} & set(active)
