"""What accepting a run has to know of a tenant: the workflow, the lanes that it may use, who is not to be looked up.

One statement, so that what it says was true at one moment.
"""

import json
import re
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.db.models import DateTimeField, ForeignKey, UUIDField

from integrations.connectors import registry
from integrations.models import Connection
from tenants.questions import Question, may_ask
from tenants.scope import APP_ALIAS, require_tenant_id, tenant_scope
from workflows import contacts
from workflows.errors import MissingConnection, UnknownWorkflow
from workflows.lanes.wire import engine_cursor
from workflows.models import Workflow

# Times have a shape of their own in JSON, and nobody who starts a run asks for them; they are read if somebody does.
_FIELDS = [field for field in Workflow._meta.concrete_fields if not isinstance(field, DateTimeField)]
_NAMES = [field.attname for field in _FIELDS]
_IDS = [isinstance(field, UUIDField | ForeignKey) for field in _FIELDS]
_READ = f"""
    SELECT json_build_array({", ".join(f"w.{field.column}" for field in _FIELDS)},
           (SELECT jsonb_agg(jsonb_build_array(c.provider, c.mode, l.id) ORDER BY c.mode, c.created_at, c.id)
            FROM integrations_connection c JOIN lane l ON l.tenant_id = c.tenant_id AND l.connection_id = c.id
            WHERE c.tenant_id = {{tenant}} AND c.removed_at IS NULL),
           (SELECT t.suppress_subdomains FROM tenants_tenant t WHERE t.id = {{tenant}}
            AND EXISTS (SELECT 1 FROM integrations_suppression s WHERE s.tenant_id = t.id)))::text
    FROM workflow w WHERE w.tenant_id = {{tenant}} AND """  # noqa: S608 - names of ours alone
_ASK = _READ.format(tenant="$1::uuid")
_BY_ID = Question("weir_setup_by_id", f"{_ASK} w.id = $2::uuid")
_BY_SLUG = Question("weir_setup_by_slug", f"{_ASK} w.slug = $2::text")
_PLAIN = re.compile(r"[A-Za-z0-9_-]{1,64}")


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


def scope_for(tenant_id: uuid.UUID, ref: str) -> tenant_scope:
    """The tenant's scope for accepting runs of this workflow; `find_setup` then takes what it was answered as it began."""
    return tenant_scope(tenant_id, ahead=True, asking=partial(_asked, tenant_id, ref))


def find_setup(ref: str, answer: str | None = None) -> Setup:
    """The open tenant's workflow with this id or slug, with what its runs need. Raises UnknownWorkflow.

    `answer`: what the scope was answered, where it was opened by `scope_for` with the same `ref`.
    """
    if answer is not None:
        return _setup(answer)
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


def _asked(tenant_id: uuid.UUID, ref: str, wrapper: Any) -> str:
    if not _PLAIN.fullmatch(ref) or not may_ask(wrapper):
        return ""
    try:
        return _BY_ID.asked_with(wrapper, str(tenant_id), str(uuid.UUID(ref)))
    except ValueError:
        return _BY_SLUG.asked_with(wrapper, str(tenant_id), ref)


def _read(which: str, ref: uuid.UUID | str) -> Setup | None:
    with engine_cursor(APP_ALIAS, prepared=True) as cursor:
        cursor.execute(_READ.format(tenant="%(tenant)s") + which, {"tenant": require_tenant_id(), "ref": ref})
        row: tuple[Any, ...] | None = cursor.fetchone()
    return _setup(row[0]) if row else None


def _setup(text: str) -> Setup:
    *values, lanes, covers_subdomains = json.loads(text)
    values = [uuid.UUID(value) if is_id else value for value, is_id in zip(values, _IDS, strict=True)]
    workflow = Workflow.from_db(APP_ALIAS, _NAMES, values)
    return Setup(
        workflow, [(provider, mode, lane_id) for provider, mode, lane_id in lanes or ()], covers_subdomains
    )
