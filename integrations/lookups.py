"""What the vault asks across tenants: which data keys are due, and never what is in them."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import connections

from tenants import rls
from tenants.scope import APP_ALIAS

_FIRST = uuid.UUID(int=0)


@dataclass(frozen=True, slots=True)
class DueKey:
    """A data key, by whose it is and which master key wraps it."""

    tenant_id: uuid.UUID
    master_key_id: str


def register() -> None:
    """Give the lookup role the function below, and the columns that it reads; called before policies are applied."""
    rls.LOOKUP_READS["integrations_datakey"] = "(tenant_id, master_key_id, created_at)"
    rls.FUNCTIONS["data_keys_due(known text[], before timestamptz, after uuid, most int)"] = f"""
        RETURNS TABLE (tenant_id uuid, master_key_id text)
        LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
            BEGIN{rls.OUTSIDE_TENANTS}
                RETURN QUERY SELECT k.tenant_id, k.master_key_id::text FROM public.integrations_datakey k
                WHERE (k.master_key_id <> ALL (known) OR k.created_at < before) AND k.tenant_id > after
                ORDER BY k.tenant_id LIMIT most;
            END
        $$"""  # noqa: S608 - of ours alone


def data_keys_due(
    *, known: Sequence[str], before: datetime | None = None, after: uuid.UUID | None = None, most: int
) -> list[DueKey]:
    """Data keys that none of the `known` master keys wraps, or that were made before a moment, by tenant."""
    with connections[APP_ALIAS].cursor() as cursor:
        cursor.execute(
            "SELECT * FROM lookup.data_keys_due(%s::text[], coalesce(%s::timestamptz, '-infinity'), %s::uuid, %s::int)",
            [list(known), before, after or _FIRST, most],
        )
        return [DueKey(*row) for row in cursor.fetchall()]
