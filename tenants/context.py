"""Who is calling, for how long as the request or task lasts: carried into logs, tasks and outgoing calls."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Context:
    request_id: str = ""
    tenant_id: uuid.UUID | None = None
    plan: str = ""
    actor: str = "system"
    key_id: uuid.UUID | None = None
    livemode: bool = True
    ip: str | None = None


_current: ContextVar[Context] = ContextVar("weir_context", default=Context())


def current() -> Context:
    """The context of this request or task; an empty one outside any."""
    return _current.get()


def update(**changes: object) -> None:
    """Add what became known (the tenant after authentication, say) to the current context."""
    _current.set(replace(_current.get(), **changes))  # type: ignore[arg-type]


@contextmanager
def context(**values: object) -> Iterator[Context]:
    """A fresh context for the block; the outer one comes back whatever happens inside."""
    token = _current.set(Context(**values))  # type: ignore[arg-type]
    try:
        yield _current.get()
    finally:
        _current.reset(token)
