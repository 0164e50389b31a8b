"""`python -m integrations.sandbox --host 127.0.0.1 --port N`: the sandbox vendors, until SIGTERM or Ctrl-C."""

import argparse
import asyncio
import ipaddress
import os
import signal
import socket
import sys
from pathlib import Path

from aiohttp import web

from integrations.sandbox.server import Sandbox

FLUSH_SECONDS = 0.2
# Twice this is how long a call under way can hold up the end; 0 would mean for ever.
STOP_SECONDS = 0.05
BACKLOG = 1024


def main(arguments: list[str] | None = None) -> int:
    options = _options(arguments)
    if not _is_loopback(options.host):
        print(f"the sandbox listens on loopback addresses alone, not on {options.host}", file=sys.stderr)
        return 2
    try:
        asyncio.run(_run(options))
    except OSError as problem:
        reason = os.strerror(problem.errno) if problem.errno else str(problem)
        print(f"cannot listen on {options.host}:{options.port}: {reason}", file=sys.stderr)
        return 1
    return 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m integrations.sandbox", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="a loopback address")
    parser.add_argument("--port", type=int, default=8001, help="0 takes a free one")
    parser.add_argument("--latency-scale", type=float, default=1.0, help="1 as the vendors, 0 at once")
    parser.add_argument(
        "--record", type=Path, help="append each answered call to this file, as lines of JSON"
    )
    parser.add_argument("--stripe-file", type=Path, help="keep what the double of Stripe holds in this file")
    return parser.parse_args(arguments)


def _is_loopback(host: str) -> bool:
    """Whether every address of this host is a loopback one."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return bool(found) and all(ipaddress.ip_address(entry[4][0]).is_loopback for entry in found)


async def _run(options: argparse.Namespace) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    sandbox = Sandbox(
        latency_scale=options.latency_scale, record=options.record, stripe_file=options.stripe_file
    )
    server = web.Server(sandbox.handle, access_log=None, keepalive_timeout=75.0)
    listener = await loop.create_server(server, options.host, options.port, backlog=BACKLOG)
    port = listener.sockets[0].getsockname()[1]
    shown = f"[{options.host}]" if ":" in options.host else options.host
    beating = loop.create_task(_beat(sandbox))
    print(f"sandbox vendors ready on http://{shown}:{port}", flush=True)
    try:
        while not stop.is_set():
            sandbox.journal.flush()
            try:
                await asyncio.wait_for(stop.wait(), FLUSH_SECONDS)
            except TimeoutError:
                continue
    finally:
        beating.cancel()
        listener.close()
        await server.shutdown(timeout=STOP_SECONDS)
        sandbox.journal.shut()
        sandbox.stripe.book.save()
        await sandbox.stripe.sender.close()


async def _beat(sandbox: Sandbox) -> None:
    while True:
        await sandbox.stripe.beat()
        await asyncio.sleep(FLUSH_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
