"""The sandbox vendors as a process of their own, and what tests ask of them."""

import json
import re
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

ROOT = Path(__file__).resolve().parents[1]
START_SECONDS = 30


class Sandbox:
    """Running sandbox vendors; answers come at once unless `latency_scale` says otherwise."""

    def __init__(self, *, latency_scale: float = 0.0, stripe_file: Path | None = None) -> None:
        self._process = subprocess.Popen(
            [
                sys.executable, "-m", "integrations.sandbox", "--host", "127.0.0.1", "--port", "0",
                "--latency-scale", str(latency_scale),
                *(["--stripe-file", str(stripe_file)] if stripe_file else []),
            ],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+", line)
        if not found:
            self.stop()
            raise RuntimeError(f"The sandbox did not start: {line!r}")
        self.url = found.group()

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(timeout=10)
        if self._process.stdout:
            self._process.stdout.close()

    def reset(self) -> None:
        self.control("POST", "reset")

    def calls(self, **filters: str) -> list[dict[str, Any]]:
        """What was asked of the vendors, in order; filtered by `provider`, `key`, `since`."""
        answer = self.control("GET", f"calls?{urlencode(filters)}")
        return answer["calls"] if isinstance(answer, dict) else answer

    def summary(self, **filters: str) -> dict[str, Any]:
        return self.control("GET", f"summary?{urlencode(filters)}")

    def set_key(self, provider: str, key: str, **limits: Any) -> None:
        """Give a key `windows`, `parallelism` and `credits` of its own."""
        self.control("POST", "keys", {"provider": provider, "key": key, **limits})

    def fault(self, provider: str, kind: str, **options: Any) -> None:
        """Let calls go wrong: `rate`, `count` and `key` narrow it down."""
        self.control("POST", "faults", {"provider": provider, "kind": kind, **options})

    def control(self, method: str, path: str, body: Any = None) -> Any:
        request = urllib.request.Request(
            f"{self.url}/_sandbox/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as response:
            text = response.read()
        return json.loads(text) if text else None
