"""The environment, checked as a whole: every fault is named at once, and nothing else reads os.environ for settings."""

import base64
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from config import credentials
from config.files import read_json
from config.variables import BY_NAME, HARDENED, LOGINS, PROVIDERS, VARIABLES, environment
from tenants.errors import WeirError
from tenants.secret import Secret

BASE_DIR = Path(__file__).resolve().parent.parent
LOGIN_VARIABLE = "WEIR_DB_LOGIN"
"""Set by manage.py for one process: which login `default` uses."""


class EnvInvalid(WeirError):
    """The environment has faults; `faults` maps each variable's name to what is wrong and what to do."""

    code = "env_invalid"
    status = 500
    title = "The environment is not valid"

    def __init__(self, env: str, faults: Mapping[str, str]) -> None:
        self.faults = dict(faults)
        lines = [f"  {name}: {fault}" for name, fault in self.faults.items()]
        super().__init__(
            "\n".join([f"Weir cannot start, the environment ({env}) has {len(lines)} fault(s):", *lines])
        )


@dataclass(frozen=True, repr=False)
class Env:
    """What settings.py is composed from."""

    env: str
    debug: bool
    base_dir: Path
    data_dir: Path
    secret_key: str
    vault_keys: list[str]
    """From the environment or a file; empty where AWS keeps them."""
    vault_keys_aws_secret: str
    base_url: str
    allowed_hosts: list[str]
    port: int
    trusted_proxies: int
    unknown_callers_per_minute: int
    own_networks: tuple[IPv4Network | IPv6Network, ...]
    cors_origins: list[str]
    database_login: str
    database_urls: dict[str, str]
    """By login: app, ops, owner, readonly, backup, admin; only those that are known."""
    redis_url: str
    broker_url: str
    signup: str
    """Who may make an account: open, invited or closed."""
    email_url: str
    email_from: str
    log_level: str
    sentry_dsn: str
    stripe_secret_key: str
    stripe_webhook_secret: str
    stripe_api_base: str
    billing_grace_days: int
    aws_bucket: str
    metrics_token: str
    webhooks_to_loopback: bool
    sandbox_url: str
    provider_base_urls: dict[str, str]
    """By provider, those that replace the vendor's own host."""
    masked: tuple[Secret, ...]
    """Every secret of the environment, alive for as long as it is, so that no log line shows it."""

    @property
    def hardened(self) -> bool:
        return self.env in HARDENED


def validate(environ: Mapping[str, str]) -> Env:
    """Check the whole environment. Raises EnvInvalid naming every fault.

    In local and test, secrets that are not set are made once and kept in the data directory; a missing database
    or Redis is no fault there, since commands start the embedded ones.
    """
    env, faults = _environment(environ)
    values: dict[str, Any] = {}
    for variable in VARIABLES:
        raw = environ.get(variable.name, "").strip()
        if not raw:
            values[variable.name] = variable.defaults.get(env, variable.default)
            if (
                variable.critical
                and env in HARDENED
                and not any(environ.get(name) for name in variable.instead)
            ):
                faults[variable.name] = f"is not set, and {env} has no default for it. {variable.help}"
            continue
        try:
            values[variable.name] = variable.parse(raw, env)
        except ValueError as error:
            faults.setdefault(variable.name, str(error))
    login = environ.get(LOGIN_VARIABLE, "app")
    faults = _together(env, login, values, environ) | faults
    if faults:
        raise EnvInvalid(env, {name: faults[name] for name in sorted(faults)})
    return _compose(env, login, values)


def _environment(environ: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """The environment's name; one that is not known is checked as strictly as production."""
    try:
        return environment(environ.get("WEIR_ENV", "").strip() or "local", ""), {}
    except ValueError as error:
        return "production", {"WEIR_ENV": str(error)}


def _together(env: str, login: str, values: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, str]:
    """Faults that only show when variables are seen side by side."""
    faults = {}
    if login not in LOGINS:
        faults[LOGIN_VARIABLE] = f"must be one of {', '.join(LOGINS)}"
    given = bool(environ.get("DATABASE_URL"))
    if given and not environ.get("DATABASE_OPS_URL"):
        faults["DATABASE_OPS_URL"] = "must be set where DATABASE_URL is: the ops login is a login of its own"
    needed = LOGINS.get(login, "DATABASE_URL")
    if (given or env in HARDENED) and not environ.get(needed):
        faults[needed] = f"is not set, and this command signs in with it. {BY_NAME[needed].help}"
    urls = [values[LOGINS[name]] for name in ("app", "ops") if values.get(LOGINS[name])]
    if env in HARDENED and len(set(urls)) < len(urls):
        faults["DATABASE_OPS_URL"] = "must not be DATABASE_URL: the two logins have different rights"
    for variable in BY_NAME.values():
        given_names = [name for name in (variable.name, *variable.instead) if environ.get(name, "").strip()]
        for name in given_names[1:] if variable.instead else ():
            faults[name] = f"must not be set beside {given_names[0]}: one place alone says it"
    if values.get("WEIR_DEBUG") and env != "local":
        faults["WEIR_DEBUG"] = "is for WEIR_ENV=local alone"
    return faults


def _compose(env: str, login: str, values: Mapping[str, Any]) -> Env:
    data_dir = data_dir_of({"WEIR_ENV": env, "WEIR_DATA_DIR": values["WEIR_DATA_DIR"] or ""})
    own = {} if env in HARDENED else _own_secrets(data_dir, values)
    own_vault_keys = [own["vault_key"]] if "vault_key" in own else []
    port = values["PORT"]
    vault_keys = values["WEIR_VAULT_KEYS"] or values["WEIR_VAULT_KEYS_FILE"] or own_vault_keys
    plain = [*own.values(), *vault_keys, *_secrets_in(values)]
    return Env(
        env=env,
        debug=bool(values["WEIR_DEBUG"]),
        base_dir=BASE_DIR,
        data_dir=data_dir,
        secret_key=values["SECRET_KEY"] or own["secret_key"],
        vault_keys=vault_keys,
        vault_keys_aws_secret=values["WEIR_VAULT_KEYS_AWS_SECRET"] or "",
        base_url=values["WEIR_BASE_URL"] or f"http://localhost:{port}",
        allowed_hosts=values["ALLOWED_HOSTS"] or ["localhost", "127.0.0.1", "[::1]"],
        port=port,
        trusted_proxies=values["WEIR_TRUSTED_PROXIES"],
        unknown_callers_per_minute=values["WEIR_UNKNOWN_CALLERS_PER_MINUTE"],
        own_networks=values["WEIR_OWN_NETWORKS"] or (),
        cors_origins=values["WEIR_CORS_ORIGINS"] or [],
        database_login=login,
        database_urls={name: values[variable] for name, variable in LOGINS.items() if values[variable]},
        redis_url=values["REDIS_URL"] or "",
        broker_url=values["CELERY_BROKER_URL"] or values["REDIS_URL"] or "",
        signup=values["WEIR_SIGNUP"],
        email_url=values["EMAIL_URL"],
        email_from=values["WEIR_EMAIL_FROM"],
        log_level=values["WEIR_LOG_LEVEL"],
        sentry_dsn=values["SENTRY_DSN"] or "",
        stripe_secret_key=values["STRIPE_SECRET_KEY"] or "",
        stripe_webhook_secret=values["STRIPE_WEBHOOK_SECRET"] or "",
        stripe_api_base=values["STRIPE_API_BASE"],
        billing_grace_days=values["WEIR_BILLING_GRACE_DAYS"],
        aws_bucket=values["AWS_STORAGE_BUCKET_NAME"] or "",
        metrics_token=values["WEIR_METRICS_TOKEN"] or "",
        webhooks_to_loopback=bool(values["WEIR_WEBHOOKS_TO_LOOPBACK"]),
        sandbox_url=values["WEIR_SANDBOX_URL"] or _local_sandbox(data_dir, port),
        provider_base_urls={
            name: values[f"WEIR_{name.upper()}_BASE_URL"]
            for name in PROVIDERS
            if values[f"WEIR_{name.upper()}_BASE_URL"]
        },
        masked=tuple(Secret(value) for value in dict.fromkeys(plain)),
    )


LONG_ENOUGH = 16
"""A part of a secret that has several, with commas: a shorter one may stand anywhere."""


def _secrets_in(values: Mapping[str, Any]) -> Iterator[str]:
    """The secrets of the environment: whole values, and of addresses the password."""
    for variable in VARIABLES:
        value = values[variable.name]
        if not variable.secret or not value:
            continue
        if isinstance(value, str) and "://" not in value:
            yield value
            yield from (part for part in map(str.strip, value.split(",")) if len(part) >= LONG_ENOUGH)
        elif isinstance(value, str) and (password := urlsplit(value).password):
            yield unquote(password)
            yield password


def data_dir_of(environ: Mapping[str, str]) -> Path:
    """The data directory that an environment asks for; relative ones count from the project's root.

    Tests have one of their own, so that they leave a running Weir's database and queue alone.
    """
    default = ".data/test" if environ.get("WEIR_ENV") == "test" else ".data"
    return (BASE_DIR / Path(environ.get("WEIR_DATA_DIR") or default).expanduser()).resolve()


def _own_secrets(data_dir: Path, values: Mapping[str, Any]) -> dict[str, str]:
    vault = BY_NAME["WEIR_VAULT_KEYS"]
    makers: dict[str, Callable[[], str] | None] = {}
    if not values["SECRET_KEY"]:
        makers["secret_key"] = lambda: secrets.token_urlsafe(50)
    if not any(values[name] for name in (vault.name, *vault.instead)):
        makers["vault_key"] = lambda: base64.urlsafe_b64encode(os.urandom(32)).decode()
    if not makers:
        return {}
    return credentials.ensure(data_dir, makers)


def _local_sandbox(data_dir: Path, port: int) -> str:
    """Where `up` last started the sandbox vendors, else where it will try first."""
    known = read_json(data_dir / "run" / "sandbox.json").get("port")
    return f"http://127.0.0.1:{known or (port + 1 if port < 65535 else port - 1)}"


@cache
def _load() -> Env:
    return validate(os.environ)


def __getattr__(name: str) -> Any:
    """`ENV` is the process's own environment, checked when it is first asked for."""
    if name == "ENV":
        return _load()
    raise AttributeError(name)
