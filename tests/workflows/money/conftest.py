"""The fixtures of the lanes: a runner, the sandbox's vendors."""

from tests.workflows.lanes.conftest import runner, vendors

__all__ = ["runner", "vendors"]
