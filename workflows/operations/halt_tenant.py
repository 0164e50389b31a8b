"""Ending all work of a tenant that is being deleted."""

import uuid

import structlog
from django.db import IntegrityError
from django.db.models.functions import Now

from tenants.scope import tenant_scope
from workflows.models import LaneRun, Run, StepQueue
from workflows.operations.cancel import cancel_waiting
from workflows.states import LaneRunState, RunStatus

_EVERYTHING = 10_000_000

log = structlog.get_logger(__name__)


def halt(tenant_id: uuid.UUID) -> bool:
    """Cancel the tenant's runs; True once no call of it can be in flight. Harmless any number of times.

    What was cancelled before any call is given back in the ledger; answers that are still to come are settled and paid
    for as always. A call whose worker fell silent counts as in flight until its deadline.
    """
    with tenant_scope(tenant_id):
        # Lanes before runs, as the engine has it. Nothing is stamped in a lane whose run is cancelled.
        LaneRun.objects.exclude(state=LaneRunState.CANCELLED).update(state=LaneRunState.CANCELLED)
        unfinished = Run.objects.filter(finished_at=None)
        unfinished.exclude(status=RunStatus.CANCELLED).update(status=RunStatus.CANCELLED)
        run_ids = list(unfinished.values_list("pk", flat=True))
    for run_id in run_ids:
        try:
            cancel_waiting(tenant_id, run_id, most=_EVERYTHING)
        except IntegrityError:
            # A run whose counts do not add up keeps nobody from leaving: its steps go with its rows.
            log.exception("run_not_cancelled", run_id=str(run_id))
    with tenant_scope(tenant_id):
        if StepQueue.objects.filter(sent_at__isnull=False, deadline_at__gt=Now()).exists():
            return False
        # A cancelled run goes on reading its file; a failed one does not.
        Run.objects.filter(finished_at=None).update(
            status=RunStatus.FAILED, finished_at=Now(), error="The tenant is being deleted."
        )
    return True
