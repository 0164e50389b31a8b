"""Three vendors that answer at once and remember nothing, as cheap as Python can be: the bench measures what asks them.

Prospeo finds every second person, Findymail six in ten of the rest, ZeroBounce calls every address valid: 2.3 calls per
contact. Limits, faults and a journal are the sandbox's (integrations/sandbox).

    python -m bench.vendors [--latency SECONDS]     prints its address; ends with its standard input
"""

import argparse
import asyncio
import hashlib
import sys
from typing import cast

import orjson
import uvloop

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: "


def prospeo(target: bytes, body: bytes) -> bytes:
    data = orjson.loads(body)["data"]
    address = _address(data["first_name"], data["company_website"])
    if _share(address) >= 50:
        return b'{"error":true,"error_code":"NO_MATCH"}'
    return (
        b'{"error":false,"free_enrichment":false,"person":{"email":'
        b'{"status":"VERIFIED","revealed":true,"email":"%b"}}}' % address.encode()
    )


def findymail(target: bytes, body: bytes) -> bytes:
    data = orjson.loads(body)
    address = _address(data["name"].partition(" ")[0], data["domain"])
    if _share(address) >= 80:
        return b'{"contact":null}'
    return b'{"contact":{"name":"Somebody","email":"%b"}}' % address.encode()


def zerobounce(target: bytes, body: bytes) -> bytes:
    address = target.partition(b"email=")[2].partition(b"&")[0].replace(b"%40", b"@")
    return b'{"address":"%b","status":"valid","sub_status":""}' % address


VENDORS = {b"prospeo": prospeo, b"findymail": findymail, b"zerobounce": zerobounce}


def _address(first: str, domain: str) -> str:
    return f"{first.lower()}@{domain}"


def _share(address: str) -> int:
    """0 to 99, the same for the same address."""
    return int.from_bytes(hashlib.blake2s(address.encode(), digest_size=4).digest()) % 100


class Answering(asyncio.Protocol):
    """One connection: requests one after the other, each whole before it is answered."""

    latency = 0.0

    def __init__(self) -> None:
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's are none by their type

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, end, rest = self.buffer.partition(b"\r\n\r\n")
        if not end:
            return
        at = head.lower().find(b"content-length:")
        length = int(head[at + 15 :].partition(b"\r\n")[0]) if at >= 0 else 0
        if len(rest) < length:
            return
        self.buffer = rest[length:]
        target = head.split(b" ", 2)[1]
        asked = length or b"/validate" in target  # else for a balance: these vendors have none
        body = VENDORS[target.split(b"/", 2)[1]](target, rest[:length]) if asked else b"{}"
        answer = b"%b%d\r\n\r\n%b" % (HEAD, len(body), body)
        if self.latency:
            asyncio.get_running_loop().call_later(self.latency, self._write, answer)
        else:
            self._write(answer)

    def _write(self, answer: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(answer)


async def serve(latency: float) -> None:
    Answering.latency = latency
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Answering, "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before each answer")
    uvloop.run(serve(parser.parse_args().latency))
