"""A run as a row of a list."""

from dataclasses import dataclass
from datetime import datetime

from workflows.models import Run
from workflows.web import progress


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run with the estimate of its end; its workflow was read with it."""

    run: Run
    finish: datetime | None

    @property
    def name(self) -> str:
        return self.run.name or f"Run of {self.run.created_at:%d %b %Y}"

    @property
    def segments(self) -> list[progress.Segment]:
        return progress.segments(self.run)

    @property
    def outcome(self) -> str:
        """“812 of 1,000 found”, with the end of a run that is under way."""
        return progress.headline(self.run, (), self.finish)
