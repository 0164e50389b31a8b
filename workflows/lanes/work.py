"""What the parts of the engine hand to each other. Plain data, no behaviour."""

import uuid
from collections import deque
from dataclasses import dataclass, field
from datetime import date, datetime
from math import inf
from typing import Any, NamedTuple

from workflows.catalog import Ask, Final, Taken

FIRST = uuid.UUID(int=0)

# A stamp covers the wait before the send as well as the call itself. It waits for STAMP_MAX_AGE_S at most, and every
# call has ended SPARE_S before its deadline.
STAMP_GRACE_S, STAMP_MAX_AGE_S, SPARE_S = 5.0, 3.0, 0.5


@dataclass(slots=True)
class RunFacts:
    """What the engine needs to know of a run; the configuration is the run's own snapshot and never changes.

    `credit_limit` follows the run's: here it only says whether there is one (stamp.py reads how much is left).
    """

    id: uuid.UUID
    tenant_id: uuid.UUID
    template: str
    config: dict[str, Any]
    lanes: dict[str, str]
    livemode: bool
    created_at: datetime
    credit_limit: int | None


POLL, CALLBACK, LOOK_UP = "poll", "callback", "look_up"


@dataclass(frozen=True, slots=True)
class Job:
    """What is under way at the vendor for a queue entry. The entry's next claim asks for its result (POLL), reads what
    was posted (CALLBACK), or asks what became of a call that got no answer (LOOK_UP)."""

    kind: str
    state: dict[str, Any] = field(default_factory=dict, repr=False)
    token: str = ""
    asked: int = 0
    failures: int = 0  # in a row, of asking
    started: float = 0.0  # Unix time, for the history alone
    counted: bool = False  # the call that began it is in the history already
    lasts: float = 0.0  # seconds that it may take, when it begins
    month: str = ""  # in which what it may cost is set aside
    ends_at: float = 0.0  # monotonic; what is kept is job_until, on the database's clock

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "state": self.state,
            "token": self.token,
            "asked": self.asked,
            "failures": self.failures,
            "started": self.started,
            "counted": self.counted,
            "month": self.month,
        }


@dataclass(frozen=True, slots=True)
class Posted:
    """Something that a vendor posted about a queue entry and that nobody has read yet."""

    id: uuid.UUID
    attempt: int
    body: bytes = field(repr=False)


@dataclass(slots=True)
class Work:
    """A queue entry in the hands of a holder."""

    id: uuid.UUID
    lane_id: uuid.UUID
    run: RunFacts
    record_id: uuid.UUID
    record_input: dict[str, str]
    operation: str
    provider: str
    query: dict[str, str]
    fingerprint: str
    taken: list[dict[str, Any]]
    attempt: int
    crashes: int
    ready_at: datetime
    cached_outcome: str = ""
    cached_answer: dict[str, Any] | None = None
    send_by: float = 0.0  # monotonic; a stamp that is older goes back
    span: float = 0.0  # seconds that its call may take, by its stamp
    reserved: int = 0  # the most that its call may cost, while it is stamped
    month: date | None = None  # in which that is counted: when it was stamped, by the database's clock
    tried_s: float = 0.0  # how long ago its first call was, when it was claimed; 0 without one
    job: Job | None = None
    posted: list[Posted] = field(default_factory=list)
    held: int = 0  # of its run's credit limit, for the job that is under way

    @property
    def needs_no_call(self) -> bool:
        return bool(self.cached_outcome) or (self.job is not None and self.job.kind == CALLBACK)


@dataclass(slots=True)
class RunInLane:
    """A run that has work in a lane, as the holder sees it."""

    facts: RunFacts
    priority: int
    vtime: float
    since: datetime
    last_turn: float = 0.0  # monotonic; kept by the holder
    buffer: deque[Work] = field(default_factory=deque)
    cursor: uuid.UUID | None = None
    exhausted: bool = False
    missed: bool = False  # something came while a claim was reading
    fed: bool = True  # something waits, by what the database says: others may have queued it
    more: bool = False  # the last claim did not come to its end
    head_at: float = -inf  # monotonic: when it was last read from its head
    returned: dict[uuid.UUID, None] = field(default_factory=dict)  # what the holder had and put back
    asking: list[uuid.UUID] = field(default_factory=list)  # those of them that the claim under way asks for

    @property
    def id(self) -> uuid.UUID:
        return self.facts.id

    @property
    def credit_limit(self) -> int | None:
        return self.facts.credit_limit


class RunSeen(NamedTuple):
    """What may have changed of a run that a lane's holder knows."""

    id: uuid.UUID
    priority: int
    credit_limit: int | None
    fed: bool


@dataclass(slots=True)
class Settlement:
    """How an attempt ended, and what follows: exactly one of `ask`, `final`, `again` is set, or none (lane trouble)."""

    work: Work
    attempt_id: uuid.UUID
    holder: uuid.UUID | None
    outcome: str
    status: str
    answer: dict[str, Any] | None = None
    credits: int = 0
    reason: str = ""
    http_status: int | None = None
    latency_ms: int | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    called: bool = True
    ask: Ask | None = None
    ask_fingerprint: str = ""
    final: Final | None = None
    again_after: float | None = None
    again_reason: str = ""
    again_afresh: bool = (
        False  # the time that a step may take starts anew: it was the key's trouble, not the step's
    )
    next_attempt: int = 0
    skipped: list[Taken] = field(default_factory=list)
    job: Job | None = None  # what is under way from now on; with `again_after`
    goes_on: bool = False  # the attempt is not over: no history, no cost yet
    read: list[uuid.UUID] = field(default_factory=list)  # what was posted and has been read
    counts_as: str = ""  # the outcome that the record's later steps see, where it is another than `outcome`
    in_doubt: bool = False  # the call may have been made and charged (doubt.py)
    booked: int = 0  # what it counts for until that is known
    released: int = (
        0  # what earlier calls in doubt were booked at, now that an answer has told what they cost
    )
    released_in: dict[date, int] = field(
        default_factory=dict
    )  # of it, by the month that it was booked in; the rest is of the work's own
    settles: list[uuid.UUID] = field(default_factory=list)  # the attempts of those
    recounted: bool = False  # a late answer: its call was counted when it was taken over

    @property
    def leaves_queue(self) -> bool:
        return self.again_after is None

    @property
    def released_by_month(self) -> list[tuple[date | None, int]]:
        """What is taken back, by month; None is the work's own."""
        rest = self.released - sum(self.released_in.values())
        return [*self.released_in.items(), *([(None, rest)] if rest else [])]

    @property
    def calls(self) -> int:
        """How many calls this writes down: a job is begun by one, however often its result is asked for."""
        counted = self.work.job is not None and self.work.job.counted
        return int(self.called and not counted and not self.recounted)


@dataclass(slots=True)
class Batch:
    """One flush: what ended, what is about to start, what goes back unstarted."""

    settlements: list[Settlement] = field(default_factory=list)
    stamps: list[tuple[Work, float, int]] = field(
        default_factory=list
    )  # work, seconds to its deadline, worst credits
    unstamps: list[Work] = field(default_factory=list)
    starts: list[tuple[uuid.UUID, uuid.UUID, str]] = field(
        default_factory=list
    )  # tenant, lane, long windows as JSON
    spare_s: float = 0.0  # what the stamps' deadlines allow for this flush itself, which may be slow
    retried: bool = False

    def __bool__(self) -> bool:
        return bool(self.settlements or self.stamps or self.unstamps)


@dataclass(slots=True)
class Flushed:
    """What a flush did: which starts may be sent, which lanes got work, which runs ended."""

    stamped: set[uuid.UUID] = field(default_factory=set)
    suppressed: set[uuid.UUID] = field(default_factory=set)  # about somebody who is not to be looked up
    parked: set[tuple[uuid.UUID, uuid.UUID]] = field(default_factory=set)  # (lane, run) at a credit limit
    woken: set[tuple[uuid.UUID, uuid.UUID]] = field(default_factory=set)  # (tenant, lane)
    completed: list[uuid.UUID] = field(default_factory=list)
    late: int = 0
    kept: list[Batch] = field(default_factory=list)  # tenants' shares that are to be tried again later

    def add(self, more: "Flushed") -> None:
        self.stamped |= more.stamped
        self.suppressed |= more.suppressed
        self.parked |= more.parked
        self.woken |= more.woken
        self.completed += more.completed
        self.late += more.late
        self.kept += more.kept
