"""What accepting a run has to know of a tenant: the workflow, the lanes that it may use, who is not to be looked up.

One statement, so that what it says was true at one moment.
"""

import json
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.db.models import DateTimeField, JSONField

from integrations.connectors import registry
from integrations.models import Connection
from tenants.scope import APP_ALIAS, require_tenant_id
from workflows import contacts
from workflows.errors import MissingConnection, UnknownWorkflow
from workflows.lanes.wire import engine_cursor
from workflows.models import Workflow

# Times go through a slow loader of Django's, and nobody who starts a run asks for them; they are read if somebody does.
_FIELDS = [field for field in Workflow._meta.concrete_fields if not isinstance(field, DateTimeField)]
_READ = f"""
    SELECT {", ".join(f"w.{field.column}" for field in _FIELDS)},
           (SELECT jsonb_agg(jsonb_build_array(c.provider, c.mode, l.id) ORDER BY c.mode, c.created_at, c.id)
            FROM integrations_connection c JOIN lane l ON l.tenant_id = c.tenant_id AND l.connection_id = c.id
            WHERE c.tenant_id = %(tenant)s AND c.removed_at IS NULL),
           (SELECT t.suppress_subdomains FROM tenants_tenant t WHERE t.id = %(tenant)s
            AND EXISTS (SELECT 1 FROM integrations_suppression s WHERE s.tenant_id = t.id))
    FROM workflow w WHERE w.tenant_id = %(tenant)s AND """  # noqa: S608 - names of ours alone


@dataclass(slots=True)
class Setup:
    """A workflow, and beside it (provider, mode, lane) of the tenant's connections, the first to use first.

    `covers_subdomains`: whether a suppressed domain covers what is below it; None where nothing is suppressed.
    """

    workflow: Workflow
    lanes: list[tuple[str, str, str]]
    covers_subdomains: bool | None

    def lanes_for(self, providers: Iterable[str], *, livemode: bool) -> dict[str, str]:
        """The lane to use per provider: test mode reaches sandbox connections alone, live mode prefers live ones.

        Raises MissingConnection naming every provider that has none.
        """
        chosen: dict[str, str] = {}
        for provider, mode, lane_id in self.lanes:  # "live" sorts before "sandbox"
            if livemode or mode == Connection.Mode.SANDBOX:
                chosen.setdefault(provider, lane_id)
        wanted = sorted(set(providers))
        if missing := [registry.get(provider).title for provider in wanted if provider not in chosen]:
            mode = "" if livemode else "sandbox "
            raise MissingConnection(
                f"{' and '.join(missing)} {'has' if len(missing) == 1 else 'have'} no {mode}connection. Add the "
                "vendor's key under Vendors (or POST /connections), or take the vendor out of the workflow.",
                errors=[
                    {"field": "workflow", "message": f"No {mode}connection for {title}."} for title in missing
                ],
            )
        return {provider: chosen[provider] for provider in wanted}


def find_setup(ref: str) -> Setup:
    """The open tenant's workflow with this id or slug, with what its runs need. Raises UnknownWorkflow."""
    try:
        found = _read("w.id = %(ref)s", uuid.UUID(str(ref)))
    except ValueError:
        found = _read("w.slug = %(ref)s", str(ref)[:64]) if str(ref).isprintable() else None
    if found is None:
        shown = contacts.storable(str(ref)[:64])
        raise UnknownWorkflow(f"There is no workflow “{shown}”. GET /workflows lists them.")
    return found


def setup_of(workflow: Workflow) -> Setup:
    """As `find_setup`, for a workflow that was read before, which stays as it was read."""
    found = find_setup(str(workflow.pk))
    found.workflow = workflow
    return found


def _read(which: str, ref: uuid.UUID | str) -> Setup | None:
    tenant_id = require_tenant_id()
    with engine_cursor(APP_ALIAS, prepared=True) as cursor:
        cursor.execute(_READ + which, {"tenant": tenant_id, "ref": ref})
        row: tuple[Any, ...] | None = cursor.fetchone()
    if row is None:
        return None
    *values, lanes, covers_subdomains = row
    values = [
        json.loads(value) if isinstance(field, JSONField) else value
        for field, value in zip(_FIELDS, values, strict=True)
    ]
    workflow = Workflow.from_db(APP_ALIAS, [field.attname for field in _FIELDS], values)
    found = [(provider, mode, lane_id) for provider, mode, lane_id in json.loads(lanes or "[]")]
    return Setup(workflow, found, covers_subdomains)
