"""Ending all work of a tenant that is being deleted."""

import contextlib
import uuid

from django.db.models.functions import Now

from tenants.scope import tenant_scope
from workflows.errors import RunIsFinal
from workflows.models import Run, StepQueue
from workflows.operations.cancel import cancel_waiting
from workflows.operations.control_run import cancel_run
from workflows.states import RunStatus

ACTOR = "system:deletion"


def halt(tenant_id: uuid.UUID) -> bool:
    """Cancel the tenant's runs; True once no call of it can be in flight. Harmless any number of times.

    What was cancelled before any call is given back in the ledger; answers that are still to come are settled and paid
    for as always. A call whose worker fell silent counts as in flight until its deadline.
    """
    with tenant_scope(tenant_id):
        unfinished = list(Run.objects.filter(finished_at=None).values_list("pk", "status"))
    for run_id, status in unfinished:
        if status != RunStatus.CANCELLED:
            with tenant_scope(tenant_id), contextlib.suppress(RunIsFinal):
                cancel_run(run_id=run_id, actor=ACTOR)
        cancel_waiting(tenant_id, run_id, most=1_000_000)
    with tenant_scope(tenant_id):
        if StepQueue.objects.filter(sent_at__isnull=False, deadline_at__gt=Now()).exists():
            return False
        # A cancelled run goes on reading its file; a failed one does not.
        Run.objects.filter(finished_at=None).update(
            status=RunStatus.FAILED, finished_at=Now(), error="The tenant is being deleted."
        )
    return True
