"""Errors of the workflows app."""

from collections.abc import Sequence

from tenants.errors import Conflict, InvalidInput, NotFound


class UnknownWorkflow(NotFound):
    """The tenant has no workflow with this id or slug."""

    code = "unknown_workflow"
    title = "Unknown workflow"


class MissingConnection(InvalidInput):
    """A vendor of the workflow has no connection that this run may use."""

    code = "missing_connection"
    title = "A vendor is not connected"


class MappingRefused(InvalidInput):
    """The columns of an upload cannot be used as they are mapped; the code names the first fault."""

    title = "The columns cannot be used like this"

    def __init__(self, faults: Sequence[tuple[str, str]]) -> None:
        super().__init__(
            " ".join(message for _, message in faults),
            errors=[{"field": "mapping", "message": message} for _, message in faults],
        )
        self.code = faults[0][0]


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


class RecordNotRetryable(Conflict):
    """The record has not failed, or is under way again."""

    code = "record_not_retryable"
    title = "The record cannot be asked for again"


class UploadRefused(InvalidInput):
    """A file as a whole cannot be used; the code says what it is (`empty_file`, `not_csv`, `payload_too_large`, …)."""

    title = "The file cannot be used"

    def __init__(self, detail: str, *, code: str, line: int | None = None) -> None:
        super().__init__(detail, errors=[{"field": "file", "message": detail}])
        self.code = code
        self.status = 413 if code == "payload_too_large" else 422
        self.line = line


class IdempotencyMismatch(InvalidInput):
    """The idempotency key was used for another request."""

    code = "idempotency_mismatch"
    title = "The idempotency key was used for another request"


class IdempotencyInProgress(Conflict):
    """The first request with this idempotency key has not been answered yet."""

    code = "idempotency_in_progress"
    title = "The first request with this key is still under way"
