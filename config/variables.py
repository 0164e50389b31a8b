"""Every environment variable that Weir reads: one table, from which checks, messages and `.env.example` follow."""

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import parseaddr
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from integrations.vault_keys import parse_keys

ENVIRONMENTS = ("local", "test", "staging", "production")
HARDENED = frozenset({"staging", "production"})
PROVIDERS = ("prospeo", "findymail", "zerobounce", "hunter", "xero", "hubspot", "shopify", "asana")
LOGINS = {
    "app": "DATABASE_URL",
    "ops": "DATABASE_OPS_URL",
    "owner": "DATABASE_OWNER_URL",
    "readonly": "DATABASE_READONLY_URL",
    "backup": "DATABASE_BACKUP_URL",
    "admin": "DATABASE_ADMIN_URL",
}

Parser = Callable[[str, str], Any]
"""Takes the raw value and the environment's name; raises ValueError with what is wanted."""


@dataclass(frozen=True)
class Variable:
    """One variable. `critical` values have no default in staging and production: they must be set there."""

    name: str
    help: str
    parse: Parser
    default: Any = None
    critical: bool = False
    secret: bool = False
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Defaults of single environments, before `default`."""
    instead: tuple[str, ...] = ()
    """Variables of which one may be set in its place; never two of them."""


def text(value: str, _env: str) -> str:
    return value


def environment(value: str, _env: str) -> str:
    if value not in ENVIRONMENTS:
        raise ValueError(f"must be one of {', '.join(ENVIRONMENTS)}")
    return value


def flag(value: str, _env: str) -> bool:
    words = {
        "1": True,
        "true": True,
        "yes": True,
        "on": True,
        "0": False,
        "false": False,
        "no": False,
        "off": False,
    }
    if value.lower() not in words:
        raise ValueError("must be true or false")
    return words[value.lower()]


def local_flag(value: str, env: str) -> bool:
    """A switch for trying things out, which cannot be on where tenants are."""
    on = flag(value, env)
    if on and env in HARDENED:
        raise ValueError("must not be on where WEIR_ENV is staging or production")
    return on


def whole(low: int, high: int) -> Parser:
    """A whole number within bounds."""

    def parse(value: str, _env: str) -> int:
        if not value.isascii() or not value.isdigit() or not low <= int(value) <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return int(value)

    return parse


def one_of(*choices: str) -> Parser:
    def parse(value: str, _env: str) -> str:
        if value not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}")
        return value

    return parse


def secret_key(value: str, env: str) -> str:
    weak = len(value) < 50 or len(set(value)) < 5 or value.startswith("django-insecure-")
    if env in HARDENED and weak:
        raise ValueError(
            "must be at least 50 random characters: python -c 'import secrets; print(secrets.token_urlsafe(50))'"
        )
    return value


def vault_keys(value: str, _env: str) -> list[str]:
    return parse_keys(value)


def vault_keys_file(value: str, _env: str) -> list[str]:
    """The master keys in a file, as Docker and Kubernetes hand secrets over; others on the machine must not read it."""
    path = Path(value).expanduser()
    try:
        mode = path.stat().st_mode
        content = path.read_text("ascii")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not plain text"
        raise ValueError(f"names a file that cannot be read: {reason}") from None
    if mode & 0o027:
        raise ValueError(
            f"names a file with mode {mode & 0o777:04o}: nobody else may read it, and its group may not write it. "
            "chmod 600, or mode / defaultMode 0400 where it is mounted"
        )
    try:
        return parse_keys(content)
    except ValueError as error:
        raise ValueError(f"names a file whose content {error}") from None


def aws_secret(value: str, _env: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9/_+=.@:-]{1,2048}", value):
        raise ValueError("must be the name or the ARN of a secret")
    return value


def hosts(value: str, env: str) -> list[str]:
    names = [part.strip() for part in value.split(",") if part.strip()]
    if not names:
        raise ValueError("must name at least one host")
    for name in names:
        if "/" in name or " " in name:
            raise ValueError("must be host names separated by commas, without scheme or path")
        if env in HARDENED and name == "*":
            raise ValueError("must name the hosts exactly; * is not allowed here")
    return names


def server_url(*schemes: str, with_name: bool = False) -> Parser:
    """An address of a server, with a path (the database's name) when that is wanted."""

    def parse(value: str, _env: str) -> str:
        parts = _split(value)
        if parts.scheme not in schemes:
            raise ValueError(f"must start with {' or '.join(scheme + '://' for scheme in schemes)}")
        if not parts.hostname and parts.scheme != "unix":
            raise ValueError("must name a host")
        if with_name and not parts.path.strip("/"):
            raise ValueError("must end with /<name of the database>")
        return value

    return parse


def web_url(*, plain_anywhere: bool = False) -> Parser:
    """An https address without a trailing slash; plain http on loopback where nothing is at stake (local, test)."""

    def parse(value: str, env: str) -> str:
        parts = _split(value)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("must be an address such as https://host")
        if parts.username or parts.query or parts.fragment:
            raise ValueError("must be a plain address, without user, query or fragment")
        relaxed = plain_anywhere or (env not in HARDENED and is_loopback(parts.hostname))
        if parts.scheme == "http" and not relaxed:
            raise ValueError(
                "must start with https:// (http is for loopback, and only where WEIR_ENV is local or test)"
            )
        return value.rstrip("/")

    return parse


def base_url(value: str, env: str) -> str:
    """Our own address: https in staging and production, with any path left out."""
    value = web_url(plain_anywhere=env not in HARDENED)(value, env)
    if urlsplit(value).path:
        raise ValueError("must have no path")
    return value


def email_url(value: str, _env: str) -> str:
    schemes = ("smtp", "smtps", "smtp+tls", "smtp+ssl", "consolemail", "filemail", "memorymail", "dummymail")
    if _split(value).scheme not in schemes:
        raise ValueError(f"must start with one of {', '.join(scheme + '://' for scheme in schemes)}")
    return value


def sender(value: str, _env: str) -> str:
    """A mail address, alone or as `Name <address>`."""
    name, address = parseaddr(value)
    if "@" not in address or any(part in value for part in "\r\n"):
        raise ValueError("must be an address, alone or as Name <address>")
    return f"{name} <{address}>" if name else address


def sentry_dsn(value: str, _env: str) -> str:
    parts = _split(value)
    if parts.scheme not in {"http", "https"} or not parts.username or not parts.path.strip("/"):
        raise ValueError("must look like https://<key>@<host>/<project>")
    return value


def token(value: str, env: str) -> str:
    if env in HARDENED and len(value) < 20:
        raise ValueError("must be at least 20 characters")
    return value


def prefixed(*prefixes: str) -> Parser:
    """A key with the prefix that its issuer gives it; anything goes in local and test."""

    def parse(value: str, env: str) -> str:
        if env in HARDENED and not value.startswith(prefixes):
            raise ValueError(f"must start with {' or '.join(prefixes)}")
        return value

    return parse


def origins(value: str, env: str) -> list[str]:
    """Web origins, separated by commas: https alone in staging and production. No wildcard."""
    found = [part.strip() for part in value.split(",") if part.strip()]
    for origin in found:
        parts = _split(origin)
        schemes = ("https",) if env in HARDENED else ("https", "http")
        if parts.scheme not in schemes or not parts.hostname or origin != f"{parts.scheme}://{parts.netloc}":
            raise ValueError(f"“{origin}” is no origin like https://app.example.com")
        if "*" in origin or "@" in origin:
            raise ValueError("must name each origin in full")
    return found


def networks(value: str, env: str) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    """Networks like 203.0.113.0/24, separated by commas."""
    found = []
    for part in filter(None, map(str.strip, value.split(","))):
        try:
            found.append(ipaddress.ip_network(part))
        except ValueError:
            raise ValueError(f"“{part}” is no network like 203.0.113.0/24") from None
    return tuple(found)


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _split(value: str) -> Any:
    parts = urlsplit(value)
    _ = parts.port  # raises ValueError for a port that is none
    if any(character.isspace() for character in value):
        raise ValueError("must not contain spaces")
    return parts


_database = server_url("postgresql", "postgres", with_name=True)

VARIABLES: tuple[Variable, ...] = (
    Variable("WEIR_ENV", "Which environment this is.", environment, "local"),
    Variable("WEIR_DATA_DIR", "Where embedded servers, logs and files live.", text),
    Variable("WEIR_BASE_URL", "The address that people use.", base_url, critical=True),
    Variable("ALLOWED_HOSTS", "Host names that are answered, separated by commas.", hosts, critical=True),
    Variable("PORT", "The port that `up` serves on.", whole(1, 65535), 8000),
    Variable(
        "WEIR_TRUSTED_PROXIES", "How many proxies of ours stand before the web process.", whole(0, 9), 0
    ),
    Variable(
        "WEIR_UNKNOWN_CALLERS_PER_MINUTE",
        "Requests a minute from one address without a valid credential.",
        whole(1, 1_000_000),
        30,
    ),
    Variable(
        "WEIR_OWN_NETWORKS",
        "Networks of yours with public addresses, which no webhook of a tenant's may reach, separated by commas.",
        networks,
    ),
    Variable("WEIR_CORS_ORIGINS", "Web origins whose pages may call the API, separated by commas.", origins),
    Variable("WEIR_DEBUG", "Django's debug pages, in local alone.", flag, default=False),
    Variable("SECRET_KEY", "Signs sessions and links.", secret_key, critical=True, secret=True),
    Variable(
        "WEIR_VAULT_KEYS",
        "Master keys of the vault, newest first.",
        vault_keys,
        critical=True,
        secret=True,
        instead=("WEIR_VAULT_KEYS_FILE", "WEIR_VAULT_KEYS_AWS_SECRET"),
    ),
    Variable(
        "WEIR_VAULT_KEYS_FILE", "A file with the master keys, in place of WEIR_VAULT_KEYS.", vault_keys_file
    ),
    Variable(
        "WEIR_VAULT_KEYS_AWS_SECRET", "Their secret in AWS Secrets Manager: its name or ARN.", aws_secret
    ),
    Variable(
        "DATABASE_URL", "PostgreSQL as weir_app: web and workers.", _database, critical=True, secret=True
    ),
    Variable(
        "DATABASE_OPS_URL", "PostgreSQL as weir_ops: console, sweeper.", _database, critical=True, secret=True
    ),
    Variable("DATABASE_OWNER_URL", "PostgreSQL as weir_owner: migrate alone.", _database, secret=True),
    Variable("DATABASE_READONLY_URL", "PostgreSQL as weir_readonly: reports.", _database, secret=True),
    Variable("DATABASE_BACKUP_URL", "PostgreSQL as weir_backup: backups.", _database, secret=True),
    Variable("DATABASE_ADMIN_URL", "PostgreSQL as administrator: makes the roles.", _database, secret=True),
    Variable(
        "REDIS_URL",
        "Redis for throttles and cache.",
        server_url("redis", "rediss"),
        critical=True,
        secret=True,
    ),
    Variable(
        "CELERY_BROKER_URL",
        "Celery's broker; REDIS_URL when unset.",
        server_url("redis", "rediss", "amqp", "amqps", "sentinel"),
        secret=True,
    ),
    Variable(
        "WEIR_SIGNUP",
        "Who may make an account of their own.",
        one_of("open", "invited", "closed"),
        "invited",
        defaults={"local": "open", "test": "open"},
    ),
    Variable(
        "EMAIL_URL",
        "How mail is sent.",
        email_url,
        "dummymail://",
        secret=True,
        defaults={"local": "consolemail://"},
    ),
    Variable("WEIR_EMAIL_FROM", "The address that Weir's mail comes from.", sender, "Weir <weir@localhost>"),
    Variable("WEIR_LOG_LEVEL", "What is logged.", one_of("DEBUG", "INFO", "WARNING", "ERROR"), "INFO"),
    Variable("SENTRY_DSN", "Where errors are reported.", sentry_dsn, secret=True),
    Variable("STRIPE_SECRET_KEY", "Stripe's API key.", prefixed("sk_", "rk_"), secret=True),
    Variable(
        "STRIPE_WEBHOOK_SECRET",
        "Signs Stripe's webhooks; several with commas.",
        prefixed("whsec_"),
        secret=True,
    ),
    Variable("STRIPE_API_BASE", "Stripe's address.", web_url(), "https://api.stripe.com"),
    Variable(
        "WEIR_BILLING_GRACE_DAYS", "Days from a failed payment to the downgrade.", whole(0, 90), default=7
    ),
    Variable(
        "AWS_STORAGE_BUCKET_NAME", "Bucket for uploads and exports; the data directory when unset.", text
    ),
    Variable(
        "WEIR_METRICS_TOKEN", "Bearer token of /metrics; closed in production when unset.", token, secret=True
    ),
    Variable(
        "WEIR_WEBHOOKS_TO_LOOPBACK",
        "Whether webhooks may go to this machine, by plain http: local and test alone.",
        local_flag,
        default=False,
        defaults={"local": True},
    ),
    Variable("WEIR_SANDBOX_URL", "The sandbox vendors.", web_url(plain_anywhere=True)),
    Variable(
        "WEIR_SANDBOX_LATENCY",
        "Percent of the vendors' latency that `up`'s sandbox takes.",
        whole(0, 1_000),
        default=100,
    ),
    *(
        Variable(f"WEIR_{name.upper()}_BASE_URL", f"In place of {name.capitalize()}'s own host.", web_url())
        for name in PROVIDERS
    ),
)
BY_NAME = {variable.name: variable for variable in VARIABLES}
