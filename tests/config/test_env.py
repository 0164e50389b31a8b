"""The environment is checked as a whole, and every fault is named at once."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from config.deploy_check import production_values
from config.env import BASE_DIR, EnvInvalid, data_dir_of, validate
from config.errors import CannotStart
from config.variables import HARDENED, LOGINS, PROVIDERS, VARIABLES
from tests.config.conftest import bare_environment

CRITICAL = [variable.name for variable in VARIABLES if variable.critical]


def faults_of(environ: dict[str, str]) -> dict[str, str]:
    with pytest.raises(EnvInvalid) as caught:
        validate(environ)
    assert all(name in caught.value.detail for name in caught.value.faults)
    return caught.value.faults


@pytest.mark.parametrize("env", sorted(HARDENED))
def test_where_it_matters_every_missing_critical_value_is_named_at_once(env: str):
    assert set(faults_of({"WEIR_ENV": env})) == set(CRITICAL)


@pytest.mark.parametrize("name", CRITICAL)
def test_each_critical_value_alone_stops_the_start(name: str):
    assert name in faults_of({**production_values(), name: ""})


def test_a_complete_production_environment_is_accepted():
    env = validate(production_values())
    assert (env.env, env.debug, env.hardened) == ("production", False, True)
    assert env.broker_url == env.redis_url
    assert set(env.database_urls) == {"app", "ops"}
    assert env.provider_base_urls == {}


def test_stripes_key_may_come_before_the_secret_that_stripe_setup_prints():
    env = validate({**production_values(), "STRIPE_SECRET_KEY": "sk_test_1", "STRIPE_WEBHOOK_SECRET": ""})
    assert (env.stripe_secret_key, env.stripe_webhook_secret) == ("sk_test_1", "")


def test_faults_of_different_kinds_are_named_together(tmp_path: Path):
    broken = {
        "WEIR_ENV": "local",
        "WEIR_DATA_DIR": str(tmp_path),
        "PORT": "eighty",
        "DATABASE_URL": "mysql://a@b/c",
        "REDIS_URL": "localhost:6379",
        "WEIR_VAULT_KEYS": "short",
        "WEIR_TRUSTED_PROXIES": "-1",
        "SENTRY_DSN": "not a dsn",
        "STRIPE_SECRET_KEY": "sk_test_1",
    }
    expected = set(broken) - {"WEIR_ENV", "WEIR_DATA_DIR", "STRIPE_SECRET_KEY"}
    assert set(faults_of(broken)) == expected | {"DATABASE_OPS_URL"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SECRET_KEY", "short"),
        ("SECRET_KEY", "a" * 60),
        ("SECRET_KEY", "django-insecure-" + "abcdefghij" * 6),
        ("WEIR_VAULT_KEYS", "bm90IDMyIGJ5dGVz"),
        ("WEIR_VAULT_KEYS", "!" * 44),
        ("ALLOWED_HOSTS", "*"),
        ("ALLOWED_HOSTS", "https://weir.example.com"),
        ("WEIR_BASE_URL", "http://weir.example.com"),
        ("WEIR_BASE_URL", "https://weir.example.com/path"),
        ("DATABASE_URL", "sqlite:///weir.db"),
        ("DATABASE_URL", "postgresql://weir_app@db:99999/weir"),
        ("DATABASE_URL", "postgresql://weir_app@db"),
        ("REDIS_URL", "http://redis"),
        ("CELERY_BROKER_URL", "memory://"),
        ("PORT", "0"),
        ("PORT", "65536"),
        ("PORT", "٨٠"),
        ("WEIR_ENV", "prod"),
        ("WEIR_DEBUG", "true"),
        ("WEIR_METRICS_TOKEN", "short"),
        ("STRIPE_WEBHOOK_SECRET", "nonsense"),
        ("EMAIL_URL", "mail.example.com"),
    ],
)
def test_a_malformed_value_is_refused_in_production(name: str, value: str):
    assert name in faults_of({**production_values(), name: value})


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_vendor_override_is_https_except_on_loopback_in_local_and_test(provider: str, tmp_path: Path):
    name = f"WEIR_{provider.upper()}_BASE_URL"
    local = {"WEIR_DATA_DIR": str(tmp_path)}
    loopback, elsewhere, secure = "http://127.0.0.1:9000/v", "http://vendor.example", "https://vendor.example"
    assert validate({**local, name: loopback + "/"}).provider_base_urls == {provider: loopback}
    assert validate({**production_values(), name: secure}).provider_base_urls == {provider: secure}
    assert name in faults_of({**local, name: elsewhere})
    assert name in faults_of({**production_values(), name: loopback})
    assert name in faults_of({**production_values(), name: "https://user:pass@vendor.example"})


def test_stripe_has_the_same_rule(tmp_path: Path):
    assert "STRIPE_API_BASE" in faults_of({**production_values(), "STRIPE_API_BASE": "http://127.0.0.1:1"})
    local = {"WEIR_DATA_DIR": str(tmp_path), "STRIPE_API_BASE": "http://127.0.0.1:1"}
    assert validate(local).stripe_api_base == "http://127.0.0.1:1"


def test_one_login_for_app_and_ops_is_refused_in_production():
    values = production_values()
    assert "DATABASE_OPS_URL" in faults_of({**values, "DATABASE_OPS_URL": values["DATABASE_URL"]})


@pytest.mark.parametrize("login", sorted(set(LOGINS) - {"app", "ops"}))
def test_a_command_that_signs_in_otherwise_needs_that_address(login: str):
    assert LOGINS[login] in faults_of({**production_values(), "WEIR_DB_LOGIN": login})


def test_local_needs_nothing_and_makes_its_own_secrets_once(tmp_path: Path):
    first = validate({"WEIR_DATA_DIR": str(tmp_path)})
    second = validate({"WEIR_DATA_DIR": str(tmp_path)})
    other = validate({"WEIR_DATA_DIR": str(tmp_path / "other")})
    assert (first.env, first.base_url) == ("local", "http://localhost:8000")
    assert (first.secret_key, first.vault_keys) == (second.secret_key, second.vault_keys)
    assert other.secret_key != first.secret_key
    assert (tmp_path / "credentials.json").stat().st_mode & 0o777 == 0o600


def test_a_damaged_credentials_file_is_named_and_not_overwritten(tmp_path: Path):
    (tmp_path / "credentials.json").write_text("{")
    with pytest.raises(CannotStart, match=re.escape("credentials.json is damaged")):
        validate({"WEIR_DATA_DIR": str(tmp_path)})
    assert (tmp_path / "credentials.json").read_text() == "{"


def test_no_secret_is_in_the_repr_of_the_environment(tmp_path: Path):
    env = validate({"WEIR_DATA_DIR": str(tmp_path)})
    assert env.secret_key not in repr(env)
    assert env.vault_keys[0] not in repr(env)


def test_tests_have_a_data_directory_of_their_own():
    assert data_dir_of({"WEIR_ENV": "test"}) != data_dir_of({"WEIR_ENV": "local"})


def test_the_example_names_every_variable_and_no_other():
    lines = (BASE_DIR / ".env.example").read_text()
    named = re.findall(r"^(?:# )?([A-Z][A-Z0-9_]+)=", lines, re.MULTILINE)
    assert sorted(named) == sorted(variable.name for variable in VARIABLES)


def test_the_example_marks_what_production_needs():
    lines = (BASE_DIR / ".env.example").read_text().splitlines()
    blocks = "\n".join(lines).split("[needed]")[1:]
    needed = [re.search(r"^(?:# )?([A-Z][A-Z0-9_]+)=", block, re.MULTILINE).group(1) for block in blocks[1:]]  # type: ignore[union-attr]
    assert sorted(needed) == sorted(CRITICAL)


def manage(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=BASE_DIR,
        env=bare_environment(**environment),
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_env_check_names_every_fault_and_fails():
    done = manage("env_check", WEIR_ENV="production", PORT="x")
    assert done.returncode == 1
    assert all(name in done.stderr for name in [*CRITICAL, "PORT"])
    assert "Traceback" not in done.stderr


def test_env_check_shows_a_valid_environment_without_its_secrets():
    values = production_values()
    done = manage("env_check", **values)
    assert done.returncode == 0, done.stderr
    for variable in VARIABLES:
        assert variable.name in done.stdout
        if variable.secret and variable.name in values:
            assert values[variable.name] not in done.stdout


def test_any_other_command_refuses_a_faulty_environment_without_a_traceback():
    done = manage("check", WEIR_ENV="staging")
    assert done.returncode == 1
    assert all(name in done.stderr for name in CRITICAL)
    assert "Traceback" not in done.stderr


def test_production_loads_no_embedded_server():
    code = (
        "import sys; from config.boot import prepare; prepare(); import django; django.setup(); "
        "print([name for name in sys.modules if name.startswith('config.embedded')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=BASE_DIR,
        env=bare_environment(**production_values()),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.strip() == "[]", done.stderr
