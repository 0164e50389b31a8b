"""`manage.py up`: everything that a local Weir needs, under one roof, until Ctrl-C."""

import contextlib
import fcntl
import http.client
import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from config.embedded import Use, use
from config.embedded.errors import EmbeddedError
from config.embedded.keeper import ensure_kept, is_kept, wait_until_gone
from config.embedded.processes import tail
from config.files import prepare_data_dir, read_json, write_private
from config.supervisor import plan
from config.supervisor.child import Child
from config.supervisor.console import complain, say
from config.supervisor.plan import Options

TICK = 0.1
SETTLE_SECONDS = 120.0
GRACE_SECONDS = 70.0
REFUSED = 2
_LOG_LIMIT = 20 * 1024 * 1024


class Stop(Exception):
    """Everything is to be stopped; `code` is the exit code."""

    def __init__(self, code: int, why: str = "") -> None:
        super().__init__(why)
        self.code, self.why = code, why


class Supervisor:
    """The state of one `up`: its children, its claim on the embedded servers, and how often it was told to stop."""

    def __init__(self, options: Options, environ: dict[str, str]) -> None:
        self.options, self.environ = options, environ
        self.children: list[Child] = []
        self.servers: Use | None = None
        self.asked_to_stop = 0
        self._env: dict[str, str] = {}

    def run(self) -> int:
        """Start, serve and stop everything; returns the exit code. Call it from the main thread."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        code = 0
        try:
            self._start()
            self._settle()
            say(
                f"Weir is running at {self.options.url}  (Ctrl-C stops it; logs: {self.options.data_dir / 'logs'})"
            )
            self._demo()
            if not self.options.once:
                self._serve()
        except Stop as stop:
            code = stop.code
            if stop.why:
                complain(stop.why)
        except EmbeddedError as error:
            code = 1
            complain(str(error))
        finally:
            self._stop_all()
        return code

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self.asked_to_stop += 1

    def _start(self) -> None:
        options = self.options
        say("Starting PostgreSQL, Redis and the sandbox vendors ...")
        environ = dict(self.environ)
        if not environ.get("DATABASE_URL") or not environ.get("REDIS_URL"):
            self.servers = use(options.data_dir, fsync=environ.get("WEIR_ENV") != "test")
            self.servers.fill(environ)
        self._pause()
        sandbox_port = plan.sandbox_port(options.data_dir, options.port)
        env = self._env = plan.child_environment(options, environ, sandbox_port=sandbox_port)
        sandbox, *others = plan.children(options, env, sandbox_port=sandbox_port)
        self._add(sandbox)
        self._finish_all(
            plan.step("migrate", plan.command("migrate", "--no-input"), options, env),
            plan.step("assets", plan.command("collectstatic", "--no-input"), options, env),
        )
        say("Starting web, worker and beat ...")
        for child in others:
            self._add(child)

    def _add(self, child: Child) -> None:
        child.start()
        self.children.append(child)

    def _finish_all(self, *steps: Child) -> None:
        """Run steps side by side to their end. Raises Stop when one fails."""
        first = len(self.children)
        for step in steps:
            self._add(step)
        while any(step.alive for step in steps):
            self._pause(tend=False)
        for step in steps:
            if step.code:
                raise Stop(1, f"{step.name} failed; {log_end(step, 15)}")
        del self.children[first:]

    def _settle(self) -> None:
        """Wait until requests are answered. Raises Stop when that takes too long."""
        deadline = time.monotonic() + SETTLE_SECONDS
        state = ""
        while time.monotonic() < deadline:
            self._pause()
            state = readiness(self.options.port)
            if state == "ok":
                return
        logs = "\n".join(log_end(child) for child in self.children if child.restarts)
        raise Stop(1, f"Weir did not become ready within {SETTLE_SECONDS:g} s ({state}).\n{logs}")

    def _demo(self) -> None:
        """Run the sample contacts, when wanted. Raises Stop with the outcome after `--once`, or when it fails there."""
        if not self.options.demo:
            return
        demo = plan.demo(self.options, self._env)
        self._add(demo)
        while demo.alive:
            self._pause()
        self.children.remove(demo)
        if self.options.once:
            raise Stop(demo.code or 0)
        if demo.code:
            complain("The sample run did not complete; Weir goes on serving.")

    def _serve(self) -> None:
        while True:
            self._pause()

    def _pause(self, *, tend: bool = True) -> None:
        """Let a moment pass, looking after everything that runs. Raises Stop when told to."""
        if self.asked_to_stop:
            raise Stop(130 if self.options.once else 0)
        time.sleep(TICK)
        if self.servers and not is_kept(self.options.data_dir):
            self._restart_servers(self.servers)
        if tend:
            for child in self.children:
                news = child.tend()
                if news:
                    say(news)

    def _restart_servers(self, servers: Use) -> None:
        say("The embedded servers stopped and are started again")
        try:
            back = ensure_kept(self.options.data_dir)
        except EmbeddedError:
            return  # tried again at the next turn
        if back != servers.endpoints:
            raise Stop(1, "The embedded servers had to move to other ports; start Weir again.")

    def _stop_all(self) -> None:
        """Web, beat and workers first, then what they rely on. A second Ctrl-C hurries."""
        if self.children or self.servers:
            say("Stopping ...")
        told = self.asked_to_stop
        rear = [child for child in self.children if child.name == "sandbox"]
        front = [child for child in self.children if child not in rear]
        for group in (front, rear):
            for child in group:
                child.ask_to_stop()
            deadline = time.monotonic() + GRACE_SECONDS
            while (
                any(child.alive for child in group)
                and time.monotonic() < deadline
                and self.asked_to_stop <= told
            ):
                time.sleep(TICK / 2)
            for child in group:
                child.finish()
        if self.servers:
            self.servers.release()
            if not wait_until_gone(self.options.data_dir):
                say("The database keeps running for another command that uses it.")
        if self.children or self.servers:
            say("Stopped.")


def log_end(child: Child, lines: int = 8) -> str:
    """The last lines of a child's log, headed by its name."""
    return f"{child.log} ends with:\n{tail(child.log, lines)}" if child.log else ""


def readiness(port: int) -> str:
    """`ok`, or what is not ready yet."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/readyz", headers={"Host": "localhost"})
        answer = connection.getresponse()
        body = answer.read()
        if answer.status == 200:
            return "ok"
        return ", ".join(json.loads(body).get("failing", [])) or f"HTTP {answer.status}"
    except (OSError, http.client.HTTPException):
        return "web does not answer"
    except ValueError:
        return "no answer that makes sense"
    finally:
        connection.close()


def port_is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


@contextlib.contextmanager
def only_one(options: Options) -> Iterator[None]:
    """The right to run this data directory. Raises Stop when another `up` has it."""
    run = options.data_dir / "run"
    with (run / "up.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            other = read_json(run / "up.json")
            where = f" at {other['url']} (process {other['pid']})" if other else ""
            raise Stop(REFUSED, f"Weir is already running{where} on {options.data_dir}.") from None
        write_private(run / "up.json", json.dumps({"url": options.url, "pid": os.getpid()}))
        try:
            yield
        finally:
            (run / "up.json").unlink(missing_ok=True)


def up(options: Options, environ: dict[str, str]) -> int:
    """Run a local Weir until it is told to stop, or until the sample run ended; returns the exit code."""
    prepare_data_dir(options.data_dir)
    try:
        with only_one(options):
            if not port_is_free(options.port):
                raise Stop(
                    REFUSED,
                    f"Port {options.port} is taken by another program. Choose another one: "
                    f"make run PORT={options.port + 1 if options.port < 65535 else 8000}",
                )
            for log in (options.data_dir / "logs").glob("*.log"):
                _rotate(log)
            return Supervisor(options, environ).run()
    except Stop as stop:
        complain(stop.why)
        return stop.code


def _rotate(log: Path) -> None:
    if log.stat().st_size > _LOG_LIMIT:
        log.replace(log.with_suffix(".log.1"))
