"""Real workers (Celery, and the lane runner in it) as processes of their own, to be killed, frozen and cut off."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from django.conf import settings

from tests.sandbox import ROOT

QUICK = {"lease_s": 0.8, "call_s": 0.5, "grace_s": 0.2, "stalled_s": 3}
"""Times for short campaigns: what a dead worker had in hand is free again after a second."""


@dataclass(eq=False)
class Worker:
    """A process; `holder` is what its runner calls itself, None when it died before it had one."""

    pid: int
    holder: str | None
    code: int | None = None

    def send(self, number: int) -> None:
        os.killpg(self.pid, number)


class Crew:
    """Starts workers in milliseconds: they are forked from a process that has loaded everything."""

    def __init__(
        self, folder: Path, sandbox_url: str, *, environment: Mapping[str, str] | None = None
    ) -> None:
        self.log = folder / "workers.log"
        self._odds = {**QUICK, "sandbox": sandbox_url}
        self._files = str(settings.MEDIA_ROOT)
        self.workers: list[Worker] = []
        self._forge = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.forge"], cwd=ROOT, text=True, bufsize=1,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, **(environment or {})},
        )  # fmt: skip

    def start(self, *, celery: bool = False, **odds: Any) -> Worker:
        """A lane runner, in a whole Celery worker if wanted, once it stands; it may be dead by then."""
        return self._fork("work" if celery else "run", odds)

    def send(self, **odds: Any) -> Worker:
        """A sender of webhooks, once it stands; it may be dead by then."""
        return self._fork("send", odds)

    def accept(self, tenant_id: object, records: list[dict[str, str]], **odds: Any) -> Worker:
        """A process that accepts a run, as web does, and ends."""
        return self._fork("accept", odds, tenant=str(tenant_id), records=records)

    def fill(self, tenant_id: object, run_id: object, **odds: Any) -> Worker:
        """A process that makes an upload's rows records, and ends."""
        return self._fork("fill", odds, tenant=str(tenant_id), run=str(run_id))

    def _fork(self, what: str, odds: Mapping[str, Any], **more: Any) -> Worker:
        command = {
            "do": what,
            "log": str(self.log),
            "files": self._files,
            "odds": {**self._odds, **odds},
            **more,
        }
        worker = Worker(**self._ask(command))
        self.workers.append(worker)
        return worker

    def _ask(self, command: Mapping[str, Any]) -> Any:
        assert self._forge.stdin is not None
        assert self._forge.stdout is not None
        self._forge.stdin.write(json.dumps(command) + "\n")
        line = self._forge.stdout.readline()
        assert line, f"the forge is gone; {self.log} may tell why"
        return json.loads(line)

    def alive(self) -> list[Worker]:
        """The workers that have not ended."""
        ended = self._ask({"do": "ended"})
        for worker in self.workers:
            worker.code = ended.get(str(worker.pid), worker.code)
        return [worker for worker in self.workers if worker.code is None]

    def wait_for_end(self, worker: Worker, *, seconds: float = 20.0) -> int:
        """How a process ended: its exit code, or less than 0 for a signal."""
        deadline = time.monotonic() + seconds
        while worker in self.alive():
            if time.monotonic() > deadline:
                raise AssertionError(f"worker {worker.pid} still runs after {seconds} s:\n{self.tail()}")
            time.sleep(0.01)
        assert worker.code is not None
        return worker.code

    def kill(self, worker: Worker) -> None:
        """kill -9, and wait until it is gone."""
        worker.send(signal.SIGKILL)
        self.wait_for_end(worker)

    def tail(self, lines: int = 30) -> str:
        return "\n".join(self.log.read_text().splitlines()[-lines:]) if self.log.exists() else ""

    def stop(self) -> None:
        """End every process."""
        for worker in self.alive():
            worker.send(signal.SIGKILL)
            self.wait_for_end(worker)
        assert self._forge.stdin is not None
        self._forge.stdin.close()
        if self._forge.stdout is not None:
            self._forge.stdout.close()
        try:
            self._forge.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._forge.kill()
            self._forge.wait()

    def memory(self, worker: Worker) -> int:
        """Bytes in memory."""
        return int(psutil.Process(worker.pid).memory_info().rss)
