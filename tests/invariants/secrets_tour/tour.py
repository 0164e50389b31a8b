"""The tour: what integrators, people, staff, vendors and bad luck do to a running Weir; everything it says is kept."""

import contextlib
import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import psutil
import redis
import requests

from config.embedded.layout import make_layout
from config.env import BASE_DIR
from tests.invariants.secrets_tour.search import Trace
from tests.journeys.system import System

PEOPLE = [
    {"first_name": f"Ada{number}", "last_name": "Byron", "company": "Engines", "domain": "engines.example"}
    for number in range(3)
]
MOST_PAGES = 150
# Where secrets lie by design: what a local installation keeps for itself, readable by its owner alone.
OWN_FILES = {"credentials.json", "redis.conf"}


class Tour:
    """A running system and the traces of what was done to it."""

    def __init__(self, system: System) -> None:
        self.system, self.base = system, f"http://127.0.0.1:{system.port}"
        self.traces: list[Trace] = []
        self.shown_once: list[Trace] = []
        self.addresses: dict[str, str] = self.inside("addresses")

    # --- doing things --------------------------------------------------------------------------------------------------

    def inside(self, verb: str, **arguments: Any) -> Any:
        """One of inside.py's verbs, in a process of its own."""
        done = subprocess.run(
            [sys.executable, "-m", "tests.invariants.secrets_tour.inside", verb],
            cwd=BASE_DIR, env=self.system.environment, input=json.dumps(arguments), capture_output=True, text=True,
            timeout=120,
        )  # fmt: skip
        if done.returncode:
            raise AssertionError(f"{verb}: {done.stderr[-3000:]}")
        told, _, answer = done.stdout.rpartition("ANSWER ")
        if hasattr(self, "traces"):
            self.traces.append(Trace(f"output of {verb}", (told + done.stderr).encode()))
        return json.loads(answer)

    def session(self, key: str = "") -> requests.Session:
        """A client whose every answer is kept, with an API key or as a browser."""
        made = requests.Session()
        made.trust_env = False
        if key:
            made.headers["Authorization"] = f"Bearer {key}"
        made.hooks["response"].append(lambda answer, **_: self.traces.append(_trace_of(answer)))
        return made

    def api(self, key: str) -> Callable[..., Any]:
        """`api(method, path, json=…)`: the answer, whatever its status."""
        session = self.session(key)
        # A body that is refused unread ends the connection, which the next call must not meet half closed.
        session.headers["Connection"] = "close"

        def call(method: str, path: str, **options: Any) -> requests.Response:
            return session.request(
                method, f"{self.base}/api/v1{path}", timeout=60, allow_redirects=False, **options
            )

        return call

    def sign_in(self, email: str, password: str, *, path: str = "/accounts/login/") -> requests.Session:
        """A browser in which this person signed in, after a mistyped password."""
        browser = self.session()
        for typed in (password + "x", password):
            self.submit(browser, path, login=email, password=typed)
        return browser

    def submit(self, browser: requests.Session, path: str, **fields: str) -> requests.Response:
        """Fill in the form of a page."""
        page = browser.get(urljoin(self.base, path), timeout=60)
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)
        data = {"csrfmiddlewaretoken": token.group(1) if token else "", **fields}
        return browser.post(page.url, data=data, headers={"Referer": page.url}, timeout=60)

    def walk(self, browser: requests.Session, *starts: str) -> int:
        """Follow every link under these paths that only shows something; how many pages there were."""
        waiting, seen = list(starts), set(starts)
        while waiting and len(seen) <= MOST_PAGES:
            path = waiting.pop(0)
            answer = browser.get(self.base + path, timeout=60)
            if "text/html" not in answer.headers.get("Content-Type", ""):
                continue
            for link in re.findall(r'href="([^"#]+)"', answer.text):
                found = urlsplit(urljoin(self.base + path, unescape(link)))
                target = found.path + (f"?{found.query}" if found.query else "")
                inside = found.netloc == urlsplit(self.base).netloc and found.path.startswith(starts)
                if inside and target not in seen and "logout" not in target:
                    seen.add(target)
                    waiting.append(target)
        return len(seen)

    def until(self, true: Callable[[], Any], seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < deadline, f"it never came true; the log ends:\n{self._log_end()}"
            time.sleep(0.2)

    def _log_end(self) -> str:
        logs = [self.system.log, *(self.system.data_dir / "logs").glob("*.log")]
        return "\n".join(f"== {log.name}\n{log.read_text(errors='replace')[-1500:]}" for log in logs)

    # --- collecting traces ---------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def watching_redis(self) -> Iterator[None]:
        """Keep every command that Redis gets: task arguments are gone from its keys as soon as a worker has them."""
        seen: list[str] = []
        client = redis.Redis.from_url(self.addresses["REDIS_URL"])
        monitor = client.monitor()

        def listen() -> None:
            with contextlib.suppress(redis.RedisError, OSError, ValueError):
                seen.extend(str(command["command"]) for command in monitor.listen())

        with monitor:
            thread = threading.Thread(target=listen, daemon=True)
            thread.start()
            yield
            assert seen, "Redis got no command at all"
        self.traces.append(Trace("commands to Redis", "\n".join(seen).encode()))

    def take_redis(self, control: str) -> None:
        """Everything in Redis now, and the control word, which nothing of ours would put there."""
        with redis.Redis.from_url(self.addresses["REDIS_URL"]) as client:
            client.hset("control", "word", control)
            for key in client.scan_iter():
                kind = client.type(key).decode()
                read = {
                    "string": client.get, "hash": client.hgetall, "set": client.smembers,
                    "list": lambda name: client.lrange(name, 0, -1),
                    "zset": lambda name: client.zrange(name, 0, -1, withscores=True),
                }[kind]  # fmt: skip
                self.traces.append(Trace(f"redis {key!r}", f"{key!r} {read(key)!r}".encode()))

    def take_dump(self) -> int:
        """The database as the backup login dumps it; how many bytes."""
        program = make_layout(self.system.data_dir).postgres_program("pg_dump")
        done = subprocess.run(
            [program, "--enable-row-security", self.addresses["DATABASE_BACKUP_URL"]],
            capture_output=True, timeout=120, check=False, env={"PATH": ""},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr.decode()[-2000:]
        self.traces.append(Trace("database dump", done.stdout))
        return len(done.stdout)

    def take_processes(self) -> None:
        for process in psutil.Process(self.system.process.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                self.traces.append(Trace("command line", "\0".join(process.cmdline()).encode()))

    def take_files(self) -> None:
        """Logs, uploads, exports, the servers' own files: after the system has stopped."""
        self.traces.append(Trace("up.log", self.system.log.read_bytes()))
        home = make_layout(self.system.data_dir).home
        for root in {self.system.data_dir, home}:
            for path in sorted(root.rglob("*")):
                if path.is_file() and not path.is_symlink() and path.name not in OWN_FILES:
                    self.traces.append(Trace(_place(path, root), path.read_bytes()))


def _trace_of(answer: requests.Response) -> Trace:
    head = f"{answer.status_code} {dict(answer.headers)}\n".encode()
    asked = urlsplit(answer.request.url or "").path
    return Trace(f"answer to {answer.request.method} {asked}", head + answer.content)


def _place(path: Path, root: Path) -> str:
    relative = path.relative_to(root)
    return (
        f"file {relative.parts[0]}/…{path.suffix}" if relative.parts[0] == "postgres" else f"file {relative}"
    )
