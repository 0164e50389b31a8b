"""One supervised process: start, start again with growing pauses, stop with everything it started."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from config.embedded.processes import spawn

FIRST_PAUSE, LONGEST_PAUSE, LONG_LIFE = 0.2, 10.0, 30.0
TOLD_DEATHS = 4
SILENT_SECONDS, START_SECONDS = 60.0, 180.0
"""For how long a child that shows its work may show none: while it works, and before it first does."""


class Child:
    """A process that shall run until it is told to stop."""

    def __init__(
        self,
        name: str,
        argv: list[str],
        *,
        env: Mapping[str, str],
        cwd: Path,
        log: Path | None,
        restart: bool = True,
        touches: Path | None = None,
    ) -> None:
        """Without a log it writes to our own output; without `restart` it runs once. `touches` is a file that it touches
        every few seconds while it works."""
        self.name, self.argv, self.env, self.cwd, self.log, self.restart = (
            name,
            argv,
            dict(env),
            cwd,
            log,
            restart,
        )
        self.restarts = 0
        self._touches = touches
        self._shown: tuple[int, float] = (0, 0.0)
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._pause = FIRST_PAUSE
        self._not_before: float | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def code(self) -> int | None:
        """How it ended; None while it runs."""
        return self._process.poll() if self._process else None

    def start(self) -> None:
        self._started, self._not_before = time.monotonic(), None
        self._shown = (self._touched(), 0.0)
        self._process = spawn(
            self.argv, log=self.log, cwd=self.cwd, account=None, death_signal=signal.SIGTERM, env=self.env
        )

    def tend(self) -> str | None:
        """Start it again when it died and its pause is over; returns what to tell, when it died."""
        process = self._process
        if process is None or not self.restart:
            return None
        now = time.monotonic()
        if process.poll() is None:
            return self._replace_if_silent(now)
        if self._not_before is None:
            self._sweep_group()
            if now - self._started > LONG_LIFE:
                self._pause, self.restarts = FIRST_PAUSE, 0
            self._not_before = now + self._pause
            self._pause = min(self._pause * 2, LONGEST_PAUSE)
            self.restarts += 1
            return self._news(how_it_ended(process.returncode))
        if now >= self._not_before:
            self.start()
        return None

    def _replace_if_silent(self, now: float) -> str | None:
        """Kill a child that lives and shows no work; the next turn starts it again. By our own clock: a file's time
        moves with the machine's, and here it only has to change."""
        if self._touches is None:
            return None
        touched, since = self._touched(), self._shown[1]
        if touched != self._shown[0]:
            self._shown = (touched, now)
        elif now - (since or self._started) > (SILENT_SECONDS if since else START_SECONDS):
            self._shown = (touched, now)
            self._sweep_group()
            return f"{self.name} lived but did not work, and was killed; see {self.log}"
        return None

    def _touched(self) -> int:
        with contextlib.suppress(OSError):
            return self._touches.stat().st_mtime_ns if self._touches else 0
        return 0

    def _news(self, ending: str) -> str | None:
        """A line about a death; a child that dies over and over does not fill the terminal."""
        if self.restarts > TOLD_DEATHS:
            return None
        again = (
            "is started again" if self.restarts < TOLD_DEATHS else "keeps stopping; it is tried on, quietly"
        )
        return f"{self.name} stopped ({ending}) and {again}; see {self.log}"

    def ask_to_stop(self) -> None:
        if self._process and self.alive:
            self._process.terminate()

    def finish(self) -> None:
        """Nothing of it is left afterwards, children included."""
        if self._process is None:
            return
        if self.alive:
            self._process.kill()
        self._sweep_group()
        self._process.wait(10)
        self._process = None

    def _sweep_group(self) -> None:
        """Each child leads a process group of its own; what it left there (a web worker, say) goes too."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)


def how_it_ended(code: int) -> str:
    """A return code in words."""
    if code >= 0:
        return f"exit {code}"
    try:
        return f"by {signal.Signals(-code).name}"
    except ValueError:
        return f"by signal {-code}"
