"""What the sandbox remembers of the calls it got: the last ones one by one, packed, and running sums."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import orjson

KEPT_CALLS = 500_000
KEPT_QUESTIONS = 500_000
ROW = struct.Struct("<QddQiIfHBBBBQ")

OPERATIONS = ("find", "verify", "balance", "poll")
ASIDE = ("balance", "poll")
"""Calls that ask nothing new: they are no part of a key's `calls`."""
PENDING, HIT, MISS, RATE_LIMITED = "pending", "hit", "miss", "rate_limited"
OUTCOMES = (
    PENDING,
    HIT,
    MISS,
    RATE_LIMITED,
    "invalid",
    "error",
    "auth_failed",
    "no_credits",
    "suppressed",
    "balance",
    "poll",
)
FAULTS = (
    "",
    "status_500",
    "hang",
    "reset",
    "garbage",
    "html",
    "slow",
    "drop_after_charge",
    "rate_limit",
    "bad_key",
    "no_credits",
    "job_slow",
    "job_fails",
    "job_never",
    "callback_twice",
    "callback_early",
    "callback_late",
    "callback_garbage",
    "callback_never",
    "half_body",
    "twice",
)


@dataclass(slots=True)
class Sums:
    """Totals of one key; credits in thousandths."""

    calls: int = 0
    hits: int = 0
    misses: int = 0
    errors: int = 0
    over_limit: int = 0
    rate_limited: int = 0
    credits: int = 0
    distinct: int = 0
    repeated: int = 0
    balance_calls: int = 0
    bulk_calls: int = 0
    polls: int = 0


@dataclass(slots=True)
class Call:
    """One question from arrival to answer; `person` is a digest, `account` the key's number, credits in thousandths.

    Questions that came in one call each have an entry, with the `bulk` number of the first of them.
    """

    seq: int
    unix: float
    mono: float
    account: int
    operation: str
    person: int
    sums: Sums
    status: int = 0
    outcome: str = PENDING
    fault: str = ""
    credits: int = 0
    over_limit: bool = False
    latency_ms: float = 0.0
    epoch: int = 0
    bulk: int = 0


@dataclass
class Journal:
    """`accounts` has (provider, key) by number. `record`, when given, gets each answered call as a line of JSON."""

    accounts: list[tuple[str, str]]
    record: Path | None = None
    next_seq: int = 1
    epoch: int = 0
    rows: bytearray = field(default_factory=bytearray)
    answered: dict[int, None] = field(default_factory=dict)
    lines: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._file: TextIO | None = None
        if self.record is not None:
            self.record.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.record.open("a", encoding="utf-8")

    def open(
        self,
        *,
        unix: float,
        mono: float,
        account: int,
        operation: str,
        person: int,
        sums: Sums,
        bulk: int = 0,
    ) -> Call:
        call = Call(self.next_seq, unix, mono, account, operation, person, sums, epoch=self.epoch, bulk=bulk)
        self.next_seq += 1
        if operation == "balance":
            sums.balance_calls += 1
        elif operation == "poll":
            sums.polls += 1
        else:
            sums.calls += 1
        self._write(call)
        return call

    def close(self, call: Call) -> None:
        """Enters what became of the call; one that was under way at a reset is forgotten."""
        if call.epoch != self.epoch:
            return
        self._count(call)
        if call.seq > self.next_seq - 1 - KEPT_CALLS:
            self._write(call)
        if self._file is not None:
            self.lines.append(orjson.dumps(self._told(call)))

    def calls(self, *, provider: str, key: str, since: int, limit: int) -> Iterator[dict[str, Any]]:
        """The calls kept with a number above `since`, oldest first."""
        oldest = max(1, self.next_seq - KEPT_CALLS)
        for seq in range(max(oldest, since + 1), self.next_seq):
            if limit <= 0:
                return
            call = self._read(seq)
            owner, secret = self.accounts[call.account]
            if (provider and owner != provider) or (key and secret != key):
                continue
            limit -= 1
            yield self._told(call)

    def reset(self) -> None:
        self.rows.clear()
        self.answered.clear()
        self.next_seq = 1
        self.epoch += 1

    def flush(self) -> None:
        if self._file is not None and self.lines:
            self._file.write(b"\n".join(self.lines).decode() + "\n")
            self._file.flush()
            self.lines.clear()

    def shut(self) -> None:
        self.flush()
        if self._file is not None:
            self._file.close()

    def _count(self, call: Call) -> None:
        sums = call.sums
        sums.credits += call.credits
        sums.over_limit += call.over_limit
        if call.operation in ASIDE:
            return
        if call.outcome in (HIT, MISS):
            sums.hits += call.outcome == HIT
            sums.misses += call.outcome == MISS
            question = call.person ^ (call.account * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF)
            if question in self.answered:
                sums.repeated += 1
                return
            sums.distinct += 1
            self.answered[question] = None
            if len(self.answered) > KEPT_QUESTIONS:
                del self.answered[next(iter(self.answered))]
        elif call.outcome == RATE_LIMITED:
            sums.rate_limited += 1
        else:
            sums.errors += 1

    def _write(self, call: Call) -> None:
        place = (call.seq - 1) % KEPT_CALLS * ROW.size
        if place == len(self.rows):
            self.rows.extend(bytes(ROW.size))
        ROW.pack_into(
            self.rows,
            place,
            call.seq,
            call.unix,
            call.mono,
            call.person,
            call.credits,
            call.account,
            call.latency_ms,
            call.status,
            OPERATIONS.index(call.operation),
            OUTCOMES.index(call.outcome),
            FAULTS.index(call.fault),
            call.over_limit,
            call.bulk,
        )

    def _read(self, seq: int) -> Call:
        row = ROW.unpack_from(self.rows, (seq - 1) % KEPT_CALLS * ROW.size)
        number, unix, mono, person, cost, account, latency, status, operation, outcome, fault, over, bulk = (
            row
        )
        return Call(
            seq=number,
            unix=unix,
            mono=mono,
            account=account,
            operation=OPERATIONS[operation],
            person=person,
            sums=Sums(),
            status=status,
            outcome=OUTCOMES[outcome],
            fault=FAULTS[fault],
            credits=cost,
            over_limit=bool(over),
            latency_ms=latency,
            bulk=bulk,
        )

    def _told(self, call: Call) -> dict[str, Any]:
        provider, key = self.accounts[call.account]
        return {
            "seq": call.seq,
            "t": call.unix,
            "mono": call.mono,
            "provider": provider,
            "operation": call.operation,
            "key_hint": key[-4:],
            "person": f"{call.person:016x}",
            "status": call.status,
            "outcome": call.outcome,
            "fault": call.fault,
            "credits": call.credits / 1000,
            "over_limit": call.over_limit,
            "latency_ms": round(call.latency_ms, 1),
            "bulk": call.bulk or None,
        }
