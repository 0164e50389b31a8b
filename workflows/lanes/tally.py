"""The counts of runs while a transaction moves records: summed up here, written once at its end."""

import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from datetime import date
from typing import Any

from workflows.lanes import book
from workflows.lanes.month import Month
from workflows.lanes.work import Work
from workflows.states import FINAL_RECORD, RecordStatus


class Tally:
    """What one tenant's share of a transaction changes in its runs."""

    def __init__(self, cursor: Any, tenant_id: uuid.UUID, month: Month) -> None:
        self.cursor, self.tenant_id, self.month = cursor, tenant_id, month
        self.runs: dict[uuid.UUID, Counter[str]] = defaultdict(Counter)
        self._moved: list[Callable[[], Sequence[tuple[uuid.UUID, str, str]]]] = []

    def reserve(self, work: Work) -> None:
        """The most that its call may cost is set aside, in its run and in its tenant's month."""
        amount = work.reserved - work.held
        self.runs[work.run.id]["reserved"] += amount
        self.month.move(work, reserved=amount)

    def release(self, work: Work, *, held: int = 0) -> None:
        """Free again, but for what is `held` for a job that is under way."""
        self.runs[work.run.id]["reserved"] -= work.reserved - held
        self.month.move(work, reserved=held - work.reserved)

    def spend(self, work: Work, credits: int) -> None:
        """A call of this work cost so much."""
        self.runs[work.run.id]["spent"] += credits
        self.month.move(work, spent=credits)

    def take_back(self, work: Work, credits: int, booked_in: date | None) -> None:
        """An earlier call of this work was booked at so much in that month (None: the work's own), and did not cost it."""
        self.runs[work.run.id]["spent"] -= credits
        if booked_in is None:
            self.month.move(work, spent=-credits)
        elif self.month.counts(work):
            self.month.move_in(booked_in, spent=-credits)

    def moved(self, records: Callable[[], Sequence[tuple[uuid.UUID, str, str]]]) -> None:
        """Records went from one status to another: each one's run and both are asked for before the counts are written."""
        self._moved.append(records)

    def _count(self, run_id: uuid.UUID, was: str, now_is: str) -> None:
        self.runs[run_id][was] -= 1
        self.runs[run_id][now_is] += 1
        self.runs[run_id]["ended"] += now_is in FINAL_RECORD

    def mark_running(self, record_ids: Sequence[uuid.UUID]) -> None:
        """Records whose first step is under way."""
        if not record_ids:
            return
        started = book.rows_later(
            self.cursor,
            """UPDATE record SET status = 'running', started_at = now()
               WHERE id = ANY(%s) AND tenant_id = %s AND status = 'queued' RETURNING run_id""",
            [list(record_ids), self.tenant_id],
        )
        self.moved(lambda: [(run_id, RecordStatus.QUEUED, RecordStatus.RUNNING) for (run_id,) in started()])

    def count(self) -> None:
        """Ask for what is not known yet of the counts."""
        for records in self._moved:
            for record in records():
                self._count(*record)
        self._moved.clear()

    def write(self) -> list[uuid.UUID]:
        """Write the counts; returns the runs that ended by it."""
        changed = {run_id: counter for run_id, counter in self.runs.items() if any(counter.values())}
        ended = book.count_runs(self.cursor, self.tenant_id, changed) if changed else []
        self.month.write()
        return ended
