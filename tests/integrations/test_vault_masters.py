"""Where master keys come from, and what a process does without the right ones."""

import base64
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError

from config.deploy_check import production_values
from config.env import BASE_DIR, EnvInvalid, validate
from config.errors import CannotStart
from config.observability import logging_config
from config.start import check_vault
from integrations.errors import MasterKeyMissing
from integrations.models import Connection, DataKey
from integrations.vault import check, masters
from integrations.vault.aws import FIELD
from integrations.vault_keys import parse_keys
from tenants.models import Tenant
from tenants.scope import tenant_scope

Connect = Callable[..., Connection]


def new_master() -> str:
    return base64.urlsafe_b64encode(os.urandom(32)).decode()


# --- as text -----------------------------------------------------------------------------------------------------------


def test_keys_are_separated_by_commas_or_lines_newest_first():
    one, two, three = new_master(), new_master(), new_master().rstrip("=")
    assert parse_keys(f"{one},{two}") == [one, two]
    assert parse_keys(f" {one} ,\t{two}\r\n{three}\n\n") == [one, two, three]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        ",",
        "short",
        "!" * 44,
        f"{new_master()},,{new_master()}",
        new_master()[:-3],
        new_master() + "AAAA",
    ],
)
def test_anything_else_is_refused_without_repeating_it(text: str):
    with pytest.raises(ValueError, match="32 bytes") as caught:
        parse_keys(text)
    assert not text.strip(" \n,") or text not in str(caught.value)


def test_a_key_that_is_named_twice_is_refused_however_it_is_written():
    key = new_master()
    with pytest.raises(ValueError, match="twice"):
        parse_keys(f"{key},{key.rstrip('=')}")


# --- a file ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def production(tmp_path: Path) -> Callable[..., Any]:
    """`production(NAME=value)`: what a production environment without WEIR_VAULT_KEYS, but with these, comes to."""

    def check(**values: str) -> Any:
        return validate({**production_values(), "WEIR_VAULT_KEYS": "", **values})

    return check


def faults(check: Callable[..., Any], **values: str) -> dict[str, str]:
    with pytest.raises(EnvInvalid) as caught:
        check(**values)
    return caught.value.faults


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o440, 0o640])
def test_a_file_in_place_of_the_variable(production: Callable[..., Any], tmp_path: Path, mode: int):
    one, two = new_master(), new_master()
    path = tmp_path / "keys"
    path.write_text(f"{one}\n{two}\n")
    path.chmod(mode)
    assert production(WEIR_VAULT_KEYS_FILE=str(path)).vault_keys == [one, two]


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o620, 0o666, 0o602])
def test_a_file_that_others_can_read_or_write_is_refused(
    production: Callable[..., Any], tmp_path: Path, mode: int
):
    path = tmp_path / "keys"
    path.write_text(new_master())
    path.chmod(mode)
    assert f"{mode:04o}" in faults(production, WEIR_VAULT_KEYS_FILE=str(path))["WEIR_VAULT_KEYS_FILE"]


def test_a_file_that_is_not_there_or_holds_something_else_is_refused(
    production: Callable[..., Any], tmp_path: Path
):
    path = tmp_path / "keys"
    assert faults(production, WEIR_VAULT_KEYS_FILE=str(path)).keys() == {"WEIR_VAULT_KEYS_FILE"}
    assert "cannot be read" in faults(production, WEIR_VAULT_KEYS_FILE=str(tmp_path))["WEIR_VAULT_KEYS_FILE"]
    for content in (b"", b"not-a-key-at-all\n", b"\xff\xfe\x00", new_master().encode() + b",x"):
        path.write_bytes(content)
        path.chmod(0o600)
        fault = faults(production, WEIR_VAULT_KEYS_FILE=str(path))["WEIR_VAULT_KEYS_FILE"]
        assert "not-a-key" not in fault
        assert content.decode("latin-1").strip() not in fault or not content.strip()


def test_none_is_refused_and_so_are_two_places(production: Callable[..., Any], tmp_path: Path):
    assert faults(production).keys() == {"WEIR_VAULT_KEYS"}
    path = tmp_path / "keys"
    path.write_text(new_master())
    path.chmod(0o600)
    assert faults(production, WEIR_VAULT_KEYS=new_master(), WEIR_VAULT_KEYS_FILE=str(path)).keys() == {
        "WEIR_VAULT_KEYS_FILE"
    }
    assert faults(
        production, WEIR_VAULT_KEYS_FILE=str(path), WEIR_VAULT_KEYS_AWS_SECRET="weir/vault"
    ).keys() == {"WEIR_VAULT_KEYS_AWS_SECRET"}
    assert "WEIR_VAULT_KEYS_AWS_SECRET" in faults(production, WEIR_VAULT_KEYS_AWS_SECRET="not a name")


def test_locally_a_file_goes_before_the_key_that_weir_makes_itself(tmp_path: Path):
    key, path = new_master(), tmp_path / "keys"
    path.write_text(key)
    path.chmod(0o600)
    env = validate({"WEIR_DATA_DIR": str(tmp_path), "WEIR_VAULT_KEYS_FILE": str(path)})
    assert env.vault_keys == [key]
    assert "vault_key" not in (tmp_path / "credentials.json").read_text()


# --- AWS Secrets Manager -----------------------------------------------------------------------------------------------


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


# --- at start ----------------------------------------------------------------------------------------------------------


def test_a_start_with_the_wrong_keys_is_refused_and_names_what_is_missing(
    tenant: Tenant, connect: Connect, settings: Any
):
    connect("prospeo")
    check.check_masters()
    with tenant_scope(tenant):
        needed = DataKey.objects.get().master_key_id
    right, settings.VAULT_KEYS = settings.VAULT_KEYS, [new_master()]
    with pytest.raises(MasterKeyMissing, match=needed) as caught:
        check.check_masters()
    assert right[0] not in str(caught.value)
    settings.VAULT_KEYS = [settings.VAULT_KEYS[0], *right]
    check.check_masters()


def test_every_missing_key_is_named(tenant: Tenant, other_tenant: Tenant, connect: Connect, settings: Any):
    from tests.factories import make_connection

    connect("prospeo")
    settings.VAULT_KEYS = [new_master(), *settings.VAULT_KEYS]
    make_connection(other_tenant, "prospeo")
    needed = masters.ring().ids
    settings.VAULT_KEYS = [new_master()]
    with pytest.raises(MasterKeyMissing) as caught:
        check.check_masters()
    assert all(name in str(caught.value) for name in needed)


def test_no_key_at_all_is_refused(settings: Any, db: None):
    settings.VAULT_KEYS = []
    with pytest.raises(MasterKeyMissing):
        check.check_masters()


def test_a_database_that_is_away_does_not_stop_the_start(monkeypatch: pytest.MonkeyPatch, settings: Any):
    def away() -> None:
        raise OperationalError("connection refused")

    monkeypatch.setattr("config.start.check_masters", away)
    check_vault()


@pytest.mark.parametrize(
    "start",
    [
        ["-c", "import config.wsgi"],
        ["-m", "celery", "-A", "config.celery", "worker", "-P", "threads", "-c", "1", "-n", "refused@%h"],
    ],
    ids=["web", "worker"],
)
def test_web_and_worker_do_not_start_with_the_wrong_key(
    committed: None, tenant: Tenant, connect: Connect, start: list[str]
):
    connect("prospeo")
    with tenant_scope(tenant):
        needed = DataKey.objects.get().master_key_id
    wrong = new_master()
    done = subprocess.run(
        [sys.executable, *start],
        cwd=BASE_DIR,
        env={**os.environ, "WEIR_VAULT_KEYS": wrong},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert needed in done.stderr
    assert wrong not in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


def test_the_check_raises_what_stops_a_start(settings: Any, db: None, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(
        "config.start.connections", {"default": type("C", (), {"close": lambda self: None})()}
    )
    settings.VAULT_KEYS = []
    with pytest.raises(CannotStart, match="master key"):
        check_vault()
