"""Logs as JSON lines, or readable ones on a terminal, without secrets."""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog
from structlog.tracebacks import ExceptionDictTransformer

from config.masking import scrub

# What structlog itself adds to each line.
_OURS = frozenset({"logger", "level", "timestamp"})


def _scrub_event(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {
        key: value if key in _OURS or key.startswith("_") else scrub(value, name=key)
        for key, value in event.items()
    }


_SHARED: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.stdlib.ExtraAdder(),
]


# What libraries write at DEBUG that no mask can be trusted with: whole answers of AWS, secrets and all.
_NEVER_BELOW_INFO = ("boto3", "botocore", "s3transfer")
_QUIETER = {
    "django": "INFO",
    "django.server": "INFO",
    "django.request": "ERROR",
    "celery": "INFO",
    "celery.worker.strategy": "WARNING",
    "celery.app.trace": "WARNING",
    "kombu": "WARNING",
}

# Local variables stay out: they hold secrets and people's data.
_TRACEBACKS = structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False))


def logging_config(*, readable: bool | None = None, level: str = "INFO") -> dict[str, Any]:
    """Django's LOGGING: everything to stderr, as JSON unless a person is watching."""
    readable = sys.stderr.isatty() if readable is None else readable
    renderers: list[Any] = (
        [structlog.processors.format_exc_info, structlog.dev.ConsoleRenderer()]
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
    loggers: dict[str, dict[str, Any]] = {
        name: {"level": level if level == "DEBUG" else usual} for name, usual in _QUIETER.items()
    }
    for name in ("django", "django.server"):
        loggers[name] |= {"propagate": True, "handlers": []}
    loggers["django.security.DisallowedHost"] = {"level": "CRITICAL"}
    loggers |= {name: {"level": "INFO"} for name in _NEVER_BELOW_INFO}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"lines": formatter},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "lines"}},
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": loggers,
    }


logging.captureWarnings(capture=True)
# No line shows them, and each line would ask for them anew.
logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
