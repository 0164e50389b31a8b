"""Logs as JSON lines (readable ones on a terminal), and the one place that keeps secrets out of them."""

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any

import structlog
from structlog.tracebacks import ExceptionDictTransformer

MASK = "****"

_SECRET_NAMES = re.compile(
    r"(pass(word|wd)?|secret|token|authori[sz]ation|cookie|api[-_]?key|x-key|^key$|vault|dsn|credential|session|signature|"
    r"csrf|(database|redis|broker|email)[-_]?\w*url)",
    re.IGNORECASE,
)
_SECRET_VALUES = re.compile(
    r"""(?x)
    \b(?:wk|sk|rk|pk)_(?:live|test)_[A-Za-z0-9]+   # our API keys, Stripe's
    | \bwhsec_[A-Za-z0-9+/=_-]+
    | (?<=://)[^\s/:@]*:[^\s/@]+(?=@)              # user and password of an address
    | (?<=/hooks/)[^\s'"?]+ | (?<=/key/)[^\s'"?]+   # paths that are keys
    | (?i:(?<=bearer\s))[A-Za-z0-9._~+/=-]+
    | (?i:(?<=apikey=)|(?<=api_key=)|(?<=apiid=)|(?<=token=)|(?<=secret=)|(?<=password=))[^\s&"']+
    """
)


def scrub(value: Any, *, name: str = "", depth: int = 0) -> Any:
    """A copy without secrets: those that a name gives away, and those that can be told by their form."""
    if name and _SECRET_NAMES.search(name) and value not in (None, "", True, False):
        return MASK
    if isinstance(value, str):
        return _SECRET_VALUES.sub(MASK, value)
    if isinstance(value, bytes):
        return _SECRET_VALUES.sub(MASK, value.decode(errors="replace"))
    if depth > 8:
        return MASK
    if isinstance(value, Mapping):
        return {key: scrub(item, name=str(key), depth=depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [scrub(item, depth=depth + 1) for item in value]
    return value


def _scrub_event(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {key: value if key.startswith("_") else scrub(value, name=key) for key, value in event.items()}


_SHARED: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.stdlib.ExtraAdder(),
]


# Local variables stay out: they hold secrets and people's data.
_TRACEBACKS = structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False))


def logging_config(*, readable: bool | None = None, level: str = "INFO") -> dict[str, Any]:
    """Django's LOGGING: everything to stderr, as JSON unless a person is watching."""
    readable = sys.stderr.isatty() if readable is None else readable
    renderers: list[Any] = (
        [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
        if readable
        else [_TRACEBACKS, structlog.processors.JSONRenderer(default=str)]
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_SHARED[:-1],
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    formatter = {
        "()": structlog.stdlib.ProcessorFormatter,
        "foreign_pre_chain": _SHARED,
        "processors": [
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            *renderers[:-1],
            _scrub_event,
            renderers[-1],
        ],
    }
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"lines": formatter},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "lines"}},
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {
            "django": {"level": "INFO", "propagate": True, "handlers": []},
            "django.request": {"level": "ERROR"},
            "django.security.DisallowedHost": {"level": "CRITICAL"},
            "django.server": {"level": "INFO", "propagate": True, "handlers": []},
            "celery": {"level": "INFO"},
            "celery.worker.strategy": {"level": "WARNING"},
            "celery.app.trace": {"level": "WARNING"},
            "kombu": {"level": "WARNING"},
        },
    }


logging.captureWarnings(capture=True)
