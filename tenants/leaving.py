"""Messages for the jobs of tenants that leave: exports and erasures. A lost message costs a little time: whoever sweeps
rings again for what is due."""

import time
from typing import Any

from tenants.doorbell import send

ERASE = "tenants.tasks.erase_closing"
EXPORT = "tenants.tasks.prepare_exports"
# How long whoever works at it may be silent before somebody else is sent.
SILENT_S = 30
_AGAIN_S = 5.0
_rung: dict[str, float] = {}

# The exports that wait, whose worker fell silent, or whose time is over.
EXPORTS_DUE = f"""
    (status = 'waiting' OR (status = 'preparing' AND seen_at < clock_timestamp() - {SILENT_S} * interval '1 second')
     OR (status = 'ready' AND expires_at < clock_timestamp()))
"""


def ring(task: str) -> None:
    """Have a worker look what there is to do. The message names no tenant: it would outlive it."""
    send(task)


def ring_if_due(cursor: Any) -> None:
    """With an ops cursor: ring for tenants that are being erased and exports that are due, now and then."""
    cursor.execute(
        f"""SELECT EXISTS (SELECT 1 FROM tenants_tenant WHERE status = 'closing')
                   OR EXISTS (SELECT 1 FROM tenants_closedtenant WHERE erasing IS NOT NULL),
                   EXISTS (SELECT 1 FROM tenants_tenantexport WHERE {EXPORTS_DUE})"""  # noqa: S608 - ours alone
    )
    closing, exporting = cursor.fetchone()
    for task, due in ((ERASE, closing), (EXPORT, exporting)):
        if due and time.monotonic() - _rung.get(task, -_AGAIN_S) >= _AGAIN_S:
            _rung[task] = time.monotonic()
            ring(task)
