"""Bases of Celery tasks: each begins with nothing, a tenant's runs in that tenant's scope, and nothing stays behind."""

import uuid
from contextlib import ExitStack
from typing import Any

from celery import Task
from structlog.contextvars import get_contextvars

from tenants.context import context
from tenants.scope import drop_leftovers, tenant_scope


class WeirTask(Task):
    """The base of every task: a context of its own, which ends with the task, and no scope."""

    abstract = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        drop_leftovers()
        try:
            with ExitStack() as stack:
                self.enter(stack, *args, **kwargs)
                return super().__call__(*args, **kwargs)
        finally:
            drop_leftovers()

    def enter(self, stack: ExitStack, *args: Any, **kwargs: Any) -> None:
        """What is open while the task runs."""
        self.enter_context(stack)

    def enter_context(self, stack: ExitStack, tenant_id: uuid.UUID | None = None) -> None:
        """Who is at work. The request that sent the task is known to the logs."""
        request_id = get_contextvars().get("request_id") or ""
        stack.enter_context(context(actor=f"system:{self.name}", request_id=request_id, tenant_id=tenant_id))


class TenantTask(WeirTask):
    """`@shared_task(base=TenantTask)`: the message's first argument is the tenant's id, and the task runs as it.

    The body is one transaction in `tenant_scope`. A task that works in pieces, or that asks somebody outside, says
    `in_scope=False` and opens scopes of its own.
    """

    abstract = True
    in_scope = True

    def enter(self, stack: ExitStack, tenant_id: str, *args: Any, **kwargs: Any) -> None:
        tenant = uuid.UUID(tenant_id)
        self.enter_context(stack, tenant)
        if self.in_scope:
            stack.enter_context(tenant_scope(tenant))
