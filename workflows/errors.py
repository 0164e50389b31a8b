"""Errors of the workflows app."""

from tenants.errors import Conflict, InvalidInput, NotFound


class UnknownWorkflow(NotFound):
    """The tenant has no workflow with this id or slug."""

    code = "unknown_workflow"
    title = "Unknown workflow"


class MissingConnection(InvalidInput):
    """A vendor of the workflow has no connection that this run may use."""

    code = "missing_connection"
    title = "A vendor is not connected"


class TooManyRecords(InvalidInput):
    """More records than one request may bring."""

    code = "too_many_records"
    title = "Too many records"


class WorkflowDisabled(Conflict):
    """The workflow is switched off."""

    code = "workflow_disabled"
    title = "The workflow is switched off"


class RunIsFinal(Conflict):
    """The run has ended; nothing can be changed any more."""

    code = "run_is_final"
    title = "The run has ended"
