"""Which processes a local Weir consists of, and the environment that they share."""

import json
import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from config.embedded.processes import free_port
from config.env import BASE_DIR, LOGIN_VARIABLE
from config.files import read_json, write_private
from config.supervisor.child import Child


@dataclass(frozen=True)
class Options:
    """What `up` was asked for."""

    data_dir: Path
    port: int
    workers: int = 1
    once: bool = False
    demo: bool = True

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}"


def child_environment(options: Options, environ: Mapping[str, str], *, sandbox_port: int) -> dict[str, str]:
    """The supervisor's environment with what it decided."""
    env = dict(environ) | {
        "WEIR_DATA_DIR": str(options.data_dir),
        "PORT": str(options.port),
        "PYTHONUNBUFFERED": "1",
    }
    env.setdefault("WEIR_SANDBOX_URL", f"http://127.0.0.1:{sandbox_port}")
    if options.demo and not env.get("STRIPE_SECRET_KEY"):
        # The sandbox's double of Stripe, so that an upgrade can be clicked through with no account anywhere.
        env["STRIPE_SECRET_KEY"] = "sk_test_sandbox"
        env["STRIPE_WEBHOOK_SECRET"] = _webhook_secret(options.data_dir)
        env["STRIPE_API_BASE"] = f"{env['WEIR_SANDBOX_URL']}/stripe"
    env.pop(LOGIN_VARIABLE, None)
    return env


def _webhook_secret(data_dir: Path) -> str:
    """What the double signs its webhooks with; made once for a data directory."""
    record = data_dir / "run" / "stripe.json"
    secret = read_json(record).get("webhook_secret") or f"whsec_{secrets.token_hex(24)}"
    write_private(record, json.dumps({"webhook_secret": secret}))
    return str(secret)


def sandbox_port(data_dir: Path, port: int) -> int:
    """The port that the sandbox had last, else the next after ours, else any free one; recorded for other commands.

    Never ours, which the web process is yet to take: the last `up` may have served elsewhere.
    """
    record = data_dir / "run" / "sandbox.json"
    last = read_json(record).get("port")
    following = port + 1 if port < 65535 else None
    chosen = free_port(last if last and last != port else following)
    write_private(record, json.dumps({"port": chosen}))
    return chosen


def command(name: str, *arguments: str) -> list[str]:
    """A management command in the same Python."""
    return [sys.executable, str(BASE_DIR / "manage.py"), name, *arguments]


def step(name: str, argv: list[str], options: Options, env: Mapping[str, str]) -> Child:
    """A process that runs once, to its end."""
    return Child(name, argv, env=env, cwd=BASE_DIR, log=_log(options, name), restart=False)


def demo(options: Options, env: Mapping[str, str]) -> Child:
    """The sample run; it draws its progress bar on our terminal."""
    return Child("demo", command("demo"), env=env, cwd=BASE_DIR, log=None, restart=False)


def _log(options: Options, name: str) -> Path:
    return options.data_dir / "logs" / f"{name}.log"


def children(options: Options, env: Mapping[str, str], *, sandbox_port: int) -> list[Child]:
    """Every process, the sandbox first: the others rely on it."""
    python = sys.executable
    run = options.data_dir / "run"
    record = options.data_dir / "sandbox"
    record.mkdir(exist_ok=True)
    celery = [python, "-m", "celery", "-A", "config.celery"]
    commands = {
        "sandbox": [
            *(python, "-m", "integrations.sandbox", "--host", "127.0.0.1", "--port", str(sandbox_port)),
            *("--record", str(record / "calls.jsonl")),
            *("--stripe-file", str(record / "stripe.json")),
            *("--latency-scale", str(int(env.get("WEIR_SANDBOX_LATENCY") or 100) / 100)),
        ],
        "web": [
            *(
                python,
                "-m",
                "granian",
                "--interface",
                "wsgi",
                "--http",
                "1",
                "--host",
                "127.0.0.1",
                "--port",
                str(options.port),
            ),
            *(
                "--no-ws",
                "--workers",
                "2",
                "--blocking-threads",
                "4",
                "--blocking-threads-idle-timeout",
                "600",
            ),
            *("--respawn-failed-workers", "--respawn-interval", "0.2", "--workers-kill-timeout", "30"),
            "config.wsgi:application",
        ],
    }
    for number in range(1, options.workers + 1):
        name = "worker" if options.workers == 1 else f"worker-{number}"
        commands[name] = [
            *(*celery, "worker", "-P", "threads", "-c", "4", "-Q", "rings,jobs", "-n", f"{name}@%h"),
            *("--without-mingle", "--without-gossip", "--loglevel", "INFO"),
        ]
    commands["beat"] = [*celery, "beat", "--pidfile=", "--schedule", str(run / "beat"), "--loglevel", "INFO"]
    return [
        Child(
            name, argv, env=env, cwd=BASE_DIR, log=_log(options, name),
            touches=run / "alive" / name if name.startswith("worker") else None,
        )
        for name, argv in commands.items()
    ]  # fmt: skip
