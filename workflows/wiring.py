"""The one module that joins the apps: what lower ones announce, the workflows app acts on."""

from typing import Any

from billing import places
from billing.operations import end_billing
from billing.operations.ledger import keep_totals
from billing.operations.plans import announce_plan
from integrations import signals as integration_signals
from integrations.connectors import registry
from integrations.models import Connection
from integrations.operations import shred_secrets
from integrations.queries import connections
from integrations.webhooks import host as sender_host
from tenants import erasure
from tenants import signals as tenant_signals
from tenants.api import once
from tenants.export import registry as export
from tenants.scope import require_tenant_id
from workflows import catalog, export_extras
from workflows.lanes import host
from workflows.operations import answer_once, control_lane, edit_workflow, halt_tenant, month_limit, withheld


def connect() -> None:
    """Join the signals; called once at start-up."""
    tenant_signals.tenant_created.connect(_first_workflows, dispatch_uid="weir_first_workflows")
    integration_signals.connection_saved.connect(_lane_of_connection, dispatch_uid="weir_lane_of_connection")
    integration_signals.secret_replaced.connect(_go_on_with_new_key, dispatch_uid="weir_go_on_with_new_key")
    integration_signals.connection_removed.connect(
        _stop_lane_for_good, dispatch_uid="weir_stop_lane_for_good"
    )
    integration_signals.connection_to_be_made.connect(_lane_left, dispatch_uid="weir_lane_left")
    integration_signals.suppressions_removed.connect(
        _forget_withheld, dispatch_uid="weir_forget_withheld_answers"
    )
    tenant_signals.seat_to_be_taken.connect(_seat_left, dispatch_uid="weir_seat_left")
    tenant_signals.tenant_changed.connect(_monthly_limit, dispatch_uid="weir_monthly_limit")
    tenant_signals.plan_set.connect(_plan_set, dispatch_uid="weir_plan_set")
    tenant_signals.tenant_closing.connect(_shred_secrets, dispatch_uid="weir_shred_secrets")
    once.keep_with(answer_once.keep_answers)
    erasure.halt_with("runs", halt_tenant.halt)
    erasure.halt_with("billing", end_billing.halt)
    erasure.keep_with("billing_usageevent", keep_totals)
    export.leave_out("integrations_connection", "key_hash")
    export.add("results", export_extras.results)
    export.add("uploads", export_extras.uploads)
    host.connect()
    sender_host.connect()


def add_sandbox_only_vendors() -> None:
    """Have the vendors that only the sandbox has, and let workflows name them; for development and tests."""
    registry.add_sandbox_only()
    for connector in registry.CONNECTORS.values():
        if connector.sandbox_only:
            catalog.allow(connector.provider)


def _first_workflows(*, actor: str, **kwargs: Any) -> None:
    edit_workflow.create_default_workflows(actor=actor)


def _lane_left(*, mode: str, **kwargs: Any) -> None:
    if mode != Connection.Mode.LIVE:
        return
    tenant_id = require_tenant_id()
    places.hold_lanes(tenant_id)
    places.require_lane(tenant_id, connections().filter(mode=Connection.Mode.LIVE).count())


def _seat_left(*, taken: int, **kwargs: Any) -> None:
    places.require_seat(require_tenant_id(), taken)


def _lane_of_connection(*, connection: Connection, actor: str, **kwargs: Any) -> None:
    control_lane.ensure_lane(connection=connection, actor=actor)


def _go_on_with_new_key(*, connection: Connection, actor: str, **kwargs: Any) -> None:
    control_lane.go_on_with_new_key(connection=connection, actor=actor)


def _stop_lane_for_good(*, connection: Connection, actor: str, **kwargs: Any) -> None:
    control_lane.stop_for_good(connection=connection, actor=actor)


def _forget_withheld(**kwargs: Any) -> None:
    withheld.forget_withheld()


def _monthly_limit(*, changes: dict[str, list[Any]], **kwargs: Any) -> None:
    if "monthly_credit_limit" in changes:
        month_limit.limit_changed(*changes["monthly_credit_limit"])


def _plan_set(*, was: str, now: str, actor: str, **kwargs: Any) -> None:
    announce_plan(was=was, now=now, actor=actor)


def _shred_secrets(*, actor: str, **kwargs: Any) -> None:
    shred_secrets(actor=actor)
