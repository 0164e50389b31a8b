"""Starting runs and waiting for them."""

import time
from collections.abc import Callable
from typing import Any

from tenants.models import Tenant
from tenants.scope import tenant_scope
from tests.factories import ACTOR
from workflows.models import Run
from workflows.operations.accept_run import accept_run, find_workflow


def people(count: int, *, last: str = "Everyone") -> list[dict[str, str]]:
    """Contacts that differ; the sandbox finds everybody called Everyone and nobody called Nobody."""
    return [
        {"first_name": f"Person{number}", "last_name": last, "domain": f"firm{number}.example"}
        for number in range(count)
    ]


def start(tenant: Tenant, records: list[dict[str, str]], **options: Any) -> Run:
    with tenant_scope(tenant):
        return accept_run(
            workflow=find_workflow("email-waterfall"),
            records=records,
            actor=ACTOR,
            source="api",
            livemode=True,
            **options,
        )


def again(run: Run) -> Run:
    with tenant_scope(run.tenant_id):
        return Run.objects.get(pk=run.pk)


def wait(run: Run, *, until: Callable[[Run], bool] = lambda run: run.is_final, seconds: float = 30) -> Run:
    """The run once the condition holds; fails the test when it does not within the time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if until(run := again(run)):
            return run
        time.sleep(0.02)
    raise AssertionError(f"not in {seconds} s: {run.status}, pending {run.pending} of {run.total}")
