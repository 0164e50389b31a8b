from workflows.models.callbacks import Callback
from workflows.models.lanes import Lane, LaneRun, LaneState, Lookup
from workflows.models.money import AmbiguousCall, CreditMonth
from workflows.models.runs import Record, Run, RunEvent, RunVendor
from workflows.models.steps import Step, StepQueue
from workflows.models.workflows import IdempotencyKey, Upload, Workflow

__all__ = [
    "AmbiguousCall",
    "Callback",
    "CreditMonth",
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
