"""Real servers for the tests of this folder, on loopback, in the test's own event loop."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from integrations.sandbox.server import Sandbox

Script = Callable[["Wire"], Awaitable[None]]


class Wire:
    """One connection as the server sees it: reads requests, writes whatever bytes a test wants."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def request(self) -> bytes:
        """The next request, head and body; empty when the client has gone."""
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return b""
        length = 0
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        return head + (await self.reader.readexactly(length) if length else b"")

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    def abort(self) -> None:
        self.writer.transport.abort()


class Served:
    """A running server: where it is, and how many connections and requests it got."""

    def __init__(self, port: int = 0) -> None:
        self.port = port
        self.connections = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@asynccontextmanager
async def wire_server(script: Script) -> AsyncIterator[Served]:
    """Runs `script` for each connection; what a script still has open at the end is cut."""
    served = Served()
    tasks: set[asyncio.Task] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.connections += 1
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await script(Wire(reader, writer))
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            tasks.discard(task)
            writer.transport.abort()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    served.port = server.sockets[0].getsockname()[1]
    try:
        yield served
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


def http_answer(body: bytes, status: str = "200 OK", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def answering(*answers: bytes) -> Script:
    """A script that gives these answers in turn on each connection, then closes it."""

    async def script(wire: Wire) -> None:
        for answer in answers:
            if not await wire.request():
                return
            await wire.send(answer)
        wire.writer.close()
        await wire.writer.wait_closed()

    return script


@asynccontextmanager
async def sandbox_server(latency_scale: float = 0.0, **options) -> AsyncIterator[tuple[Sandbox, str]]:
    """The sandbox vendors in this event loop: the sandbox itself and its URL."""
    sandbox = Sandbox(latency_scale=latency_scale, **options)
    server = web.Server(sandbox.handle, access_log=None)
    listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    try:
        yield sandbox, f"http://127.0.0.1:{port}"
    finally:
        listener.close()
        await server.shutdown(timeout=0.05)
        sandbox.journal.shut()
