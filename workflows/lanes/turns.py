"""The runs that have work in one lane: which to read from, what was read, and whose turn it is.

No I/O. All times are seconds of one monotonic clock, passed in.
"""

import uuid
from collections import deque
from collections.abc import Collection, Iterable, Sequence
from heapq import heapify, heappop, heapreplace
from itertools import islice
from math import inf

from workflows.lanes.outcome import CRASHES_ALONE
from workflows.lanes.work import FIRST, RunInLane, RunSeen, Work

CLAIM_MOST = 400
# How often a run is read from its head, while there is more to read and at its end.
HEAD_EVERY_S, HEAD_EVERY_AT_END_S = 15.0, 1.0
UNSEEN_S = 10.0  # a step is seen within this time of its making
RETURNED_AT_ONCE, RETURNED_MOST = 200, 5_000
RUNS_AT_ONCE = 16
AGEING_S = 60.0  # a waiting run gains a step of priority per minute


def goes_on(run: RunInLane) -> bool:
    """Whether the run's records go on to the next vendor rather than wait for one that is out of service."""
    return run.facts.config.get("on_outage") == "skip"


class Turns:
    """The runs of one lane that are active, and their steps that wait in the holder's hands."""

    def __init__(self, clock_offset: float) -> None:
        """`clock_offset`: what the database's clock (Unix seconds) is ahead of the monotonic one."""
        self.runs: dict[uuid.UUID, RunInLane] = {}
        self.claiming = False
        self.poked = True
        self.floor = 0.0  # the vtime of who had least: a new run has no credit from the time before it
        self.met_suspects = False
        self._clock_offset = clock_offset
        self._taken_of_late = 0  # steps per flush: a fast lane reads further ahead

    # --- what there is -------------------------------------------------------------------------------------------------

    def refresh(
        self,
        runs: Iterable[RunInLane | RunSeen],
        now: float,
        *,
        stamping: Collection[uuid.UUID] = (),
        whole: bool = True,
    ) -> bool:
        """Take over the runs that are active now; whether that may let something start or end.

        `stamping`: runs with a step that is being stamped. That step waits, by what the database says; of many runs,
        whether there is another one is seen when it is stamped. `whole`: there are no others.
        """
        active = {run.id: run for run in runs}
        changed = False
        for run_id, run in active.items():
            mine = self.runs.get(run_id)
            if mine is None:
                if isinstance(run, RunSeen):
                    continue  # known when it was asked for, and forgotten meanwhile: the next look brings it whole
                run.vtime = max(run.vtime, self.floor)
                run.last_turn = now
                self.runs[run_id] = run
                changed = True
            else:
                mine.priority = run.priority
                mine.facts.credit_limit = run.credit_limit  # shared with what was claimed before
                if run.fed and not mine.buffer and not (self.many and run_id in stamping):
                    mine.missed = self.claiming
                    if mine.exhausted:
                        mine.exhausted, self.poked, changed = False, True, True
        for run_id in [run_id for run_id in self.runs if run_id not in active] if whole else ():
            del self.runs[run_id]
            changed = True
        return changed

    def with_work(self) -> list[uuid.UUID]:
        """Of many runs, those whose next step is in the holder's hands: no news of them matters for now."""
        return [run_id for run_id, run in self.runs.items() if run.buffer] if self.many else []

    @property
    def many(self) -> bool:
        """Whether there are more runs than a claim reads from."""
        return len(self.runs) > RUNS_AT_ONCE

    def any_waiting(self) -> bool:
        """Whether there are steps that were claimed and not taken."""
        return any(run.buffer for run in self.runs.values())

    def buffered(self) -> int:
        """How many there are."""
        return sum(len(run.buffer) for run in self.runs.values())

    def next_operations(self) -> set[str]:
        return {run.buffer[0].operation for run in self.runs.values() if run.buffer}

    def poke(self, *, every_run: bool = False) -> None:
        """There may be new work: look at every run again.

        Of many runs, at those alone that the database says have some: whoever pokes looks at the lane next (`refresh`).
        With a record a run each poke would have all of them read, several claims for each start. `every_run`: all the
        same, for what is no news to the database.
        """
        if self.many and not every_run:
            return
        self.poked = True
        for run in self.runs.values():
            run.exhausted = False

    # --- what to claim -------------------------------------------------------------------------------------------------

    def claim_plan(self, now: float, *, room: int, paused: bool, out: bool) -> list[tuple[RunInLane, int]]:
        """Which runs to read from, and how many steps of each; empty when enough is at hand.

        `room`: for how many starts a flush has room; `out`: the vendor is out of service, and who does not wait for it
        is read to its end.
        """
        if self.claiming or (paused and not out):
            return []
        want = min(CLAIM_MOST, max(20, 4 * room, 4 * self._taken_of_late))
        few = max(2, want // 4)
        short = [
            run
            for run in self.runs.values()
            if not run.exhausted and len(run.buffer) < few and (not paused or goes_on(run))
        ]
        if out and any(goes_on(run) for run in short):
            want = CLAIM_MOST
        if not short or (self.buffered() >= want and all(run.buffer for run in short)):
            return []
        chosen = sorted(short, key=lambda run: self.rank(run, now))[:RUNS_AT_ONCE]
        # One more than a run of one record has: then it is known to have ended.
        share = max(2, want // len(chosen))
        return [(run, share) for run in chosen]

    def reading(self, plan: Sequence[tuple[RunInLane, int]], now: float) -> None:
        """A claim begins. Now and then it reads from the head: there may be steps that came back to another holder."""
        self.claiming, self.poked = True, False
        for run, _ in plan:
            run.missed = False
            if now - run.head_at >= (HEAD_EVERY_S if run.more else HEAD_EVERY_AT_END_S):
                run.cursor, run.head_at = None, now
            run.asking = list(islice(run.returned, RETURNED_AT_ONCE))
            for entry in run.asking:  # to the end: the others have their turn next
                run.returned[entry] = run.returned.pop(entry)

    def claimed(self, run: RunInLane, works: Sequence[Work], now: float, *, ended: bool) -> None:
        """Take what a claim brought. The next one goes on behind it, but for the latest steps: their numbers are given
        before they are committed, and one with an earlier number may come to be seen later.

        What came while it read may not be in it: then this was not the end.
        """
        mine = self.runs.get(run.facts.id)
        if mine is None:
            return
        mine.buffer.extend(work for work in works if not work.needs_no_call)
        self.met_suspects = self.met_suspects or any(work.crashes >= CRASHES_ALONE for work in works)
        for work in works if mine.returned else ():
            mine.returned.pop(work.id, None)
        if works:
            latest = uuid.UUID(int=max(0, int((now + self._clock_offset - UNSEEN_S) * 1000)) << 80)
            mine.cursor = max(mine.cursor or FIRST, min(works[-1].id, latest))
        ended = ended and not mine.missed
        mine.more = not ended
        mine.exhausted = ended

    def came_back(self, work: Work, *, due: bool) -> None:
        """A step of this lane is in the queue again, behind what has been read; `due`: it may be claimed at once."""
        if (run := self.runs.get(work.run.id)) is not None:
            run.returned[work.id] = None
            if due:
                run.exhausted, run.missed, self.poked = False, True, True
            if len(run.returned) > RETURNED_MOST:
                run.returned.clear()
                run.head_at = -inf

    # --- whose turn it is ----------------------------------------------------------------------------------------------

    def rank(self, run: RunInLane, now: float) -> tuple[int, float]:
        """Higher priority first, one step more for each minute without a turn; among equals whoever had least."""
        aged = run.priority + (now - run.last_turn) / AGEING_S if run.last_turn else run.priority
        return -int(aged), run.vtime

    def take(self, room: int, now: float, *, busy: bool, suspect_elsewhere: bool) -> list[Work]:
        """Up to `room` steps in the order in which runs have their turn.

        A suspect goes alone: not while the lane is `busy`; and while another lane has one in hand (`suspect_elsewhere`),
        runs whose next step is a suspect wait.
        """
        chosen: list[Work] = []
        turns = [(self.rank(run, now), n, run) for n, run in enumerate(self.runs.values()) if run.buffer]
        heapify(turns)
        while turns and len(chosen) < room:
            _, n, run = turns[0]
            suspect = run.buffer[0].crashes >= CRASHES_ALONE
            if suspect and suspect_elsewhere:
                heappop(turns)
                continue
            if suspect and (chosen or busy):
                break
            run.vtime += 1
            run.last_turn = now
            self.floor = max(self.floor, run.vtime - 1)
            chosen.append(run.buffer.popleft())
            if suspect:
                break
            if run.buffer:
                heapreplace(turns, (self.rank(run, now), n, run))
            else:
                heappop(turns)
        self._taken_of_late = max(len(chosen), self._taken_of_late // 2)
        return chosen

    def take_to_pass_over(self) -> list[Work]:
        """The claimed steps of runs that do not wait for a vendor that is out of service."""
        works: list[Work] = []
        for run in self.runs.values():
            if run.buffer and goes_on(run):
                # A vendor that has taken a job is waited for until its deadline: it may be charged already.
                works.extend(work for work in run.buffer if work.job is None)
                run.buffer = deque(work for work in run.buffer if work.job is not None)
        return works
