"""The counts of runs while a transaction moves records: summed up here, written once at its end."""

import uuid
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from workflows.lanes import book
from workflows.states import FINAL_RECORD, RecordStatus


class Tally:
    """What one tenant's share of a transaction changes in its runs."""

    def __init__(self, cursor: Any, tenant_id: uuid.UUID) -> None:
        self.cursor, self.tenant_id = cursor, tenant_id
        self.runs: dict[uuid.UUID, Counter[str]] = defaultdict(Counter)

    def moved(self, run_id: uuid.UUID, was: str, now_is: str) -> None:
        """A record of this run went from one status to another."""
        self.runs[run_id][was] -= 1
        self.runs[run_id][now_is] += 1
        self.runs[run_id]["ended"] += now_is in FINAL_RECORD

    def mark_running(self, record_ids: Sequence[uuid.UUID]) -> None:
        """Records whose first step is under way."""
        if not record_ids:
            return
        started = book.rows(
            self.cursor,
            """UPDATE record SET status = 'running', started_at = now()
               WHERE id = ANY(%s) AND tenant_id = %s AND status = 'queued' RETURNING run_id""",
            [list(record_ids), self.tenant_id],
        )
        for (run_id,) in started:
            self.moved(run_id, RecordStatus.QUEUED, RecordStatus.RUNNING)

    def write(self) -> list[uuid.UUID]:
        """Write the counts; returns the runs that ended by it."""
        changed = {run_id: counter for run_id, counter in self.runs.items() if any(counter.values())}
        return book.count_runs(self.cursor, self.tenant_id, changed) if changed else []
