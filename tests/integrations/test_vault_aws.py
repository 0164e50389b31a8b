"""Master keys out of AWS Secrets Manager: a server on loopback that speaks its protocol."""

import json
import logging
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from botocore.config import Config

from config.observability import logging_config
from integrations.errors import MasterKeyMissing
from integrations.vault import aws as vault_aws
from integrations.vault import masters
from integrations.vault.aws import FIELD, fetch
from tests.integrations.test_vault import new_master


class SecretsManager:
    """A loopback server that speaks the service's JSON protocol. `answer` is (status, body)."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.answer: tuple[int, Any] = (200, {})
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.asked.append((self.headers["X-Amz-Target"], body, self.headers["Authorization"] or ""))
                status, answer = outer.answer
                content = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/x-amz-json-1.1")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def holds(self, text: str) -> None:
        self.answer = (200, {"ARN": "arn:aws:secretsmanager:x", "Name": "weir/vault", "SecretString": text})

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(5)


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch, settings: Any) -> Iterator[SecretsManager]:
    manager = SecretsManager()
    for name, value in {
        "AWS_ENDPOINT_URL_SECRETS_MANAGER": manager.url,
        "AWS_REGION": "eu-central-1",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "aws-secret-of-the-test",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    settings.VAULT_KEYS, settings.VAULT_KEYS_AWS_SECRET = [], "weir/vault"
    masters._ring.cache_clear()
    yield manager
    masters._ring.cache_clear()
    manager.close()


def test_the_keys_are_fetched_once_and_signed_for(aws: SecretsManager):
    old, new = new_master(), new_master()
    aws.holds(f"{new},{old}")
    assert masters.ring() is masters.ring()
    assert len(masters.ring().ids) == 2
    ((target, body, authorization),) = aws.asked
    assert (target, body) == ("secretsmanager.GetSecretValue", {"SecretId": "weir/vault"})
    assert authorization.startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")


def test_they_may_be_a_field_of_json_as_the_console_stores_it(aws: SecretsManager):
    key = new_master()
    aws.holds(json.dumps({FIELD: key}))
    assert len(masters.ring().ids) == 1


def test_the_same_keys_are_the_same_from_anywhere(aws: SecretsManager, settings: Any):
    key = new_master()
    aws.holds(key)
    ids = masters.ring().ids
    settings.VAULT_KEYS, settings.VAULT_KEYS_AWS_SECRET = [key], ""
    assert masters.ring().ids == ids


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (400, {"__type": "ResourceNotFoundException", "message": "can't find"}, "ResourceNotFoundException"),
        (400, {"__type": "AccessDeniedException", "message": "no"}, "AccessDeniedException"),
        (200, {"SecretBinary": "AAAA"}, "holds no text"),
        (200, {"SecretString": "canary-not-a-key"}, "32 bytes"),
        (200, {"SecretString": '{"other": "canary"}'}, FIELD),
        (200, {"SecretString": "{canary"}, FIELD),
    ],
)
def test_what_aws_does_not_hand_out_is_told_and_never_quoted(
    aws: SecretsManager, status: int, body: dict[str, str], says: str
):
    aws.answer = (status, body)
    with pytest.raises(MasterKeyMissing, match=says) as caught:
        masters.ring()
    assert "canary" not in str(caught.value)
    asked = len(aws.asked)
    aws.holds(new_master())
    assert masters.ring()  # a failure is not kept
    assert len(aws.asked) == asked + 1


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("one,two", "one,two"),
        (' \n{"other": "x", "WEIR_VAULT_KEYS": "one\\ntwo"}\n', "one\ntwo"),
        ("one}", "one}"),
    ],
)
def test_the_text_is_handed_out_as_it_is_stored(aws: SecretsManager, text: str, keys: str):
    aws.holds(text)
    assert fetch("weir/vault") == keys


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"SecretBinary": "AAAA"}, "holds no text"),
        ({"SecretString": ""}, "holds no text"),
        ({"SecretString": '{"weir_vault_keys": "canary"}'}, "is JSON without a text WEIR_VAULT_KEYS"),
        ({"SecretString": '{"WEIR_VAULT_KEYS": 5}'}, "is JSON without a text WEIR_VAULT_KEYS"),
        ({"SecretString": "{canary"}, "is JSON without a text WEIR_VAULT_KEYS"),
    ],
)
def test_a_secret_without_keys_is_told_to_be_one(aws: SecretsManager, body: dict[str, str], told: str):
    aws.answer = (200, body)
    with pytest.raises(ValueError, match=f"^{told}$"):
        fetch("weir/vault")


def refusal() -> str:
    with pytest.raises(MasterKeyMissing) as caught:
        fetch("weir/vault")
    assert caught.value.__suppress_context__  # the library's own words may quote what was sent
    return str(caught.value)


def test_the_words_are_ours_and_name_what_to_look_at(aws: SecretsManager, monkeypatch: pytest.MonkeyPatch):
    aws.answer = (400, {"__type": "AccessDeniedException", "message": "canary"})
    assert refusal() == "AWS Secrets Manager refused the vault's master keys: AccessDeniedException."
    monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", "no address")
    assert refusal() == (
        "AWS Secrets Manager did not hand out the vault's master keys (ValueError): "
        "look at AWS_REGION, the credentials and the network."
    )


def test_a_service_that_fails_is_asked_three_times(aws: SecretsManager, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda seconds: None)
    aws.answer = (500, {"__type": "InternalServiceError"})
    assert refusal() == "AWS Secrets Manager refused the vault's master keys: InternalServiceError."
    assert len(aws.asked) == 3
    # By what is said here, whatever the library would do by itself.
    monkeypatch.setattr(vault_aws, "_PATIENCE", Config(retries={"total_max_attempts": 1}))
    refusal()
    assert len(aws.asked) == 4


def test_aws_that_cannot_be_reached_is_told(aws: SecretsManager, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(MasterKeyMissing, match="EndpointConnectionError"):
        masters.ring()
    monkeypatch.delenv("AWS_REGION")
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    with pytest.raises(MasterKeyMissing, match="NoRegionError"):
        masters.ring()


def test_the_keys_are_in_no_log_line_at_any_level(aws: SecretsManager, caplog: pytest.LogCaptureFixture):
    key = new_master()
    aws.holds(key)
    quiet = logging_config(level="DEBUG")["loggers"]
    with caplog.at_level(logging.DEBUG):
        for name in ("botocore", "boto3", "urllib3"):
            caplog.set_level(quiet.get(name, {"level": "DEBUG"})["level"], logger=name)
        masters.ring()
    assert key not in caplog.text
    assert "aws-secret-of-the-test" not in caplog.text
