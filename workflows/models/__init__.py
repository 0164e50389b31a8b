from workflows.models.lanes import Lane, LaneRun, LaneState, Lookup
from workflows.models.runs import Record, Run, RunEvent, RunVendor
from workflows.models.steps import Step, StepQueue
from workflows.models.workflows import IdempotencyKey, Upload, Workflow

__all__ = [
    "IdempotencyKey",
    "Lane",
    "LaneRun",
    "LaneState",
    "Lookup",
    "Record",
    "Run",
    "RunEvent",
    "RunVendor",
    "Step",
    "StepQueue",
    "Upload",
    "Workflow",
]
