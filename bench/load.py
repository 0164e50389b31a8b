"""An open-loop load generator: requests leave at a fixed rate, whatever the answers do, and each one's time counts from
when it was meant to leave. With a rate of 0 it is closed-loop: every connection asks again as soon as it is answered.

    python -m bench.load < job.json      prints what came of it, as JSON

A job: {"port", "rate" (a second; 0: closed), "seconds", "connections" (at most), "head" (per caller, with the blank
line), "body", "accepted" (a file for the ids of what was answered with 202)}. `@@@@@@@@` in the body becomes the
request's number, eight digits wide. It uses little CPU, since it shares the machine with what it measures.
"""

import asyncio
import json
import sys
import time
from collections import Counter, deque
from pathlib import Path
from typing import Any

import uvloop

MARK = b"@@@@@@@@"
PATIENCE_S = 30.0


class Connection(asyncio.Protocol):
    """One connection kept open, with at most one request under way."""

    def __init__(self, load: "Load") -> None:
        self.load = load
        self.due = 0.0
        self.buffer = b""
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.load.free(self)

    def send(self, due: float, data: bytes) -> None:
        self.due, self.buffer = due, b""
        self.transport.write(data)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        body = _body(self.buffer)
        if body is None:
            return
        self.load.answered(self.due, int(self.buffer[9:12]), body)
        self.due = 0.0
        self.load.free(self)

    def connection_lost(self, error: Exception | None) -> None:
        self.load.lost(self)


def _body(answer: bytes) -> bytes | None:
    """The body of an answer that has arrived whole, else None: with its length told, or in chunks (the first of them)."""
    head, found, body = answer.partition(b"\r\n\r\n")
    if not found:
        return None
    _, told, rest = head.lower().partition(b"content-length:")
    if told:
        return body if len(body) >= int(rest.partition(b"\r\n")[0]) else None
    return body.partition(b"\r\n")[2] if body.endswith(b"0\r\n\r\n") else None


class Load:
    """The requests of a job, those that wait for a connection, and what was answered."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.job = job
        self.heads = [head.encode() for head in job["head"]]
        before, _, after = job["body"].encode().partition(MARK)
        self.parts = before, after, MARK in job["body"].encode()
        self.number = int(job.get("first", 0))
        self.idle: deque[Connection] = deque()
        self.waiting: deque[float] = deque()
        self.opened = self.under_way = 0
        self.statuses: Counter[str] = Counter()
        self.ms: list[float] = []
        self.late_ms: list[float] = []
        self.ids: list[bytes] = []
        self.samples: dict[str, str] = {}
        self.closing = False
        self.opening: set[asyncio.Future[None]] = set()
        self.ended_at = 0.0

    def next_request(self) -> bytes:
        before, after, marked = self.parts
        self.number += 1
        head = self.heads[self.number % len(self.heads)]
        return head + before + (b"%08d" % self.number if marked else b"") + after

    def free(self, connection: Connection) -> None:
        if self.waiting:
            self.under_way += 1
            connection.send(self.waiting.popleft(), self.next_request())
        else:
            self.idle.append(connection)
            if not self.job["rate"] and not self.closing:
                self.start(time.perf_counter())

    def start(self, due: float) -> None:
        """A request is due: it leaves now if a connection is free, or waits for one."""
        if self.idle:
            self.under_way += 1
            self.idle.popleft().send(due, self.next_request())
            return
        self.waiting.append(due)
        if self.opened < self.job["connections"]:
            self.opening.add(task := asyncio.ensure_future(self.connect()))
            task.add_done_callback(self.opening.discard)

    async def connect(self) -> None:
        self.opened += 1
        try:
            await asyncio.get_running_loop().create_connection(
                lambda: Connection(self), "127.0.0.1", self.job["port"]
            )
        except OSError as error:
            self.opened -= 1
            self.statuses[f"no connection: {type(error).__name__}"] += 1

    def answered(self, due: float, status: int, body: bytes) -> None:
        self.under_way -= 1
        self.ended_at = time.perf_counter()
        self.ms.append((self.ended_at - due) * 1000)
        self.statuses[str(status)] += 1
        if status == 202:
            self.ids.append(body[7:43])
        elif str(status) not in self.samples:
            self.samples[str(status)] = body[:300].decode(errors="replace")

    def lost(self, connection: Connection) -> None:
        self.opened -= 1
        if connection.due:
            self.under_way -= 1
            self.statuses["connection lost"] += 1
        elif connection in self.idle:
            self.idle.remove(connection)

    async def run(self) -> dict[str, Any]:
        rate, seconds = self.job["rate"], self.job["seconds"]
        cpu = time.process_time()
        await asyncio.gather(
            *(self.connect() for _ in range(self.job.get("warm") or self.job["connections"]))
        )
        began = time.perf_counter()
        if rate:
            await self.open_loop(began, rate, int(rate * seconds))
        else:
            await asyncio.sleep(seconds)
        self.closing = True
        for _ in range(int(PATIENCE_S / 0.01)):
            if not self.under_way and not self.waiting:
                break
            await asyncio.sleep(0.01)
        if unanswered := self.under_way + len(self.waiting):
            self.statuses["unanswered"] += unanswered
        took = self.ended_at - began
        return {
            "sent": sum(self.statuses.values()), "statuses": dict(self.statuses), "samples": self.samples,
            "seconds": round(took, 2), "answered_per_s": round(len(self.ms) / took, 1),
            "ms": _percentiles(self.ms), "left_late_ms": _percentiles(self.late_ms),
            "connections": self.opened, "cpu_s": round(time.process_time() - cpu, 2),
        }  # fmt: skip

    async def open_loop(self, began: float, rate: float, count: int) -> None:
        sent = 0
        while sent < count:
            now = time.perf_counter()
            while sent < count and (due := began + sent / rate) <= now:
                self.late_ms.append((now - due) * 1000)
                self.start(due)
                sent += 1
            await asyncio.sleep(max(0.0, began + sent / rate - time.perf_counter()))


def _percentiles(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    at = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p999": 0.999, "most": 1.0}
    last = len(ordered) - 1
    return {
        name: round(ordered[min(last, int(len(ordered) * share))], 2) for name, share in at.items() if ordered
    }


if __name__ == "__main__":
    load = Load(json.load(sys.stdin))
    result = uvloop.run(load.run())
    Path(load.job["accepted"]).write_bytes(b"\n".join(load.ids))
    print(json.dumps(result))
