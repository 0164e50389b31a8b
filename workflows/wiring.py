"""The one module that joins the apps: what lower ones announce, the workflows app acts on."""

from typing import Any

from integrations import signals as integration_signals
from integrations.models import Connection
from tenants import signals as tenant_signals
from workflows.lanes import host
from workflows.operations import control_lane, edit_workflow


def connect() -> None:
    """Join the signals; called once at start-up."""
    tenant_signals.tenant_created.connect(_first_workflows, dispatch_uid="weir_first_workflows")
    integration_signals.connection_saved.connect(_lane_of_connection, dispatch_uid="weir_lane_of_connection")
    integration_signals.secret_replaced.connect(_go_on_with_new_key, dispatch_uid="weir_go_on_with_new_key")
    host.connect()


def _first_workflows(*, actor: str, **kwargs: Any) -> None:
    edit_workflow.create_default_workflows(actor=actor)


def _lane_of_connection(*, connection: Connection, actor: str, **kwargs: Any) -> None:
    control_lane.ensure_lane(connection=connection, actor=actor)


def _go_on_with_new_key(*, connection: Connection, actor: str, **kwargs: Any) -> None:
    control_lane.go_on_with_new_key(connection=connection, actor=actor)
