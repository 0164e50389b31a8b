"""Bringing every tenant's data key up to date, one tenant and one transaction at a time, while the system runs.

Whatever is done is done for good: a run that was killed leaves the tenant that it was at as it was, and the next run
finds what is left by itself.
"""

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from integrations import operations
from integrations.errors import VaultError
from integrations.lookups import data_keys_due
from integrations.vault.masters import ring
from tenants.scope import tenant_scope

BATCH = 200
ACTOR = "system:rotate_secrets"


@dataclass(slots=True)
class Rotation:
    """Counts of one run. `failed` maps a tenant to why its data key was left as it was."""

    keys: int = 0
    secrets: int = 0
    unreadable: int = 0
    failed: dict[uuid.UUID, str] = field(default_factory=dict)


def rotate(*, renew_before: datetime | None, progress: Callable[[Rotation], None]) -> Rotation:
    """Wrap every data key by the newest master key; renew those that were made before a moment, where one is given.

    `progress` is called after each tenant.
    """
    counts = Rotation()
    for tenant_id in _due(renew_before):
        try:
            _rotate_one(tenant_id, counts, renew=renew_before is not None)
        except VaultError as error:
            counts.failed[tenant_id] = str(error)
        progress(counts)
    return counts


def _rotate_one(tenant_id: uuid.UUID, counts: Rotation, *, renew: bool) -> None:
    with tenant_scope(tenant_id):
        if renew:
            renewal = operations.renew_data_key(actor=ACTOR)
            if renewal is None:
                return
            counts.secrets += renewal.sealed
            counts.unreadable += renewal.unreadable
            counts.keys += 1
        else:
            counts.keys += operations.rewrap_data_key(actor=ACTOR)


def _due(before: datetime | None) -> Iterator[uuid.UUID]:
    known, after = [ring().newest.id], None
    while batch := data_keys_due(known=known, before=before, after=after, most=BATCH):
        for key in batch:
            yield key.tenant_id
        after = batch[-1].tenant_id
