"""Where master keys come from, and what a process does without the right ones."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError

from config.deploy_check import production_values
from config.env import BASE_DIR, EnvInvalid, validate
from config.errors import CannotStart
from config.start import check_vault
from integrations.errors import MasterKeyMissing
from integrations.models import Connection, DataKey
from integrations.vault import check, masters
from integrations.vault_keys import parse_keys
from tenants.models import Tenant
from tenants.scope import tenant_scope
from tests.factories import make_connection
from tests.integrations.test_vault import new_master

Connect = Callable[..., Connection]


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
        pytest.param(f"{new_master()},,{new_master()}", id="nothing between two"),
        pytest.param(new_master()[:-3], id="cut off"),
        pytest.param(new_master() + "AAAA", id="too long"),
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
