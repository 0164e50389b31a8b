"""Servers on loopback that listen to Weir: vendors that repeat the key in their errors, and an error tracker."""

import gzip
import json
import threading
import zlib
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import unquote_plus

import brotli

Answer = tuple[int, dict[str, str], bytes]
"""Status, headers, body; status 0 breaks the connection off."""

GOOD: dict[str, tuple[int, Any]] = {
    "/prospeo/enrich-person": (200, {"error": True, "error_code": "NO_MATCH"}),
    "/findymail/api/search/name": (404, {"error": "Contact not found"}),
    "/hunter/v2/email-finder": (
        200,
        {"data": {"email": "ada@engines.example", "verification": {"status": "valid"}}},
    ),
    "/zerobounce/v2/validate": (
        200,
        {"address": "ada@engines.example", "status": "valid", "sub_status": "", "free_email": False},
    ),
    "/zerobounce/v2/getcredits": (200, {"Credits": "100"}),
}


class Listener:
    """An HTTP server that keeps every request whole. `answer` gets method, path, headers and body."""

    def __init__(self, answer: Callable[[str, str, dict[str, str], bytes], Answer]) -> None:
        self.requests: list[bytes] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = dict(self.headers.items())
                outer.requests.append(
                    f"{self.command} {self.path} {headers}\n".encode() + unpack(headers, body)
                )
                status, extra, content = answer(self.command, self.path, headers, body)
                if not status:
                    self.close_connection = True
                    return
                self.send_response(status)
                for name, value in {**extra, "Content-Length": str(len(content))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = handle_any  # noqa: N815 - the names that the server looks for

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def saw(self, secret: str) -> bool:
        """Whether it was sent this, in a header, an address or a body."""
        return any(secret in unquote_plus(request.decode("utf-8", "replace")) or secret.encode() in request
                   for request in list(self.requests))  # fmt: skip


def unpack(headers: dict[str, str], body: bytes) -> bytes:
    match headers.get("Content-Encoding", ""):
        case "gzip":
            return gzip.decompress(body)
        case "br":
            return bytes(brotli.decompress(body))
        case "deflate":
            return zlib.decompress(body)
    return body


def vendors(unkind: dict[str, str]) -> Listener:
    """Vendors under /<provider>: kind to every key but those in `unkind` (key -> how it is treated)."""

    def answer(method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        said = unquote_plus(f"{path} {headers}") + str(headers)
        for key, way in unkind.items():
            if key in said or repr(key)[1:-1] in said:
                return _unkind(way, key)
        status, content = GOOD.get(path.split("?", maxsplit=1)[0], (404, {}))
        return status, {"Content-Type": "application/json"}, json.dumps(content).encode()

    return Listener(answer)


def _unkind(way: str, key: str) -> Answer:
    kind = {"Content-Type": "application/json", "X-Your-Key": key}
    words = f"The API key {key} is not valid"
    match way:
        case "refuse":
            said = {"error": True, "error_code": "INVALID_API_KEY", "message": words, "key": key}
            return 401, {**kind, "WWW-Authenticate": f"Bearer {key}"}, json.dumps(said).encode()
        case "fault":
            return 500, {**kind, "Content-Type": "text/html"}, f"<h1>Fault</h1><pre>{words}</pre>".encode()
        case "redirect":
            return 302, {**kind, "Location": f"http://127.0.0.1:9/?api_key={key}"}, b""
        case "words":
            return 200, kind, json.dumps({"error": f"Invalid API key {key}", "Credits": key}).encode()
    return 0, {}, b""


def tracker() -> Listener:
    """An error tracker that takes whatever comes."""
    return Listener(lambda *_: (200, {"Content-Type": "application/json"}, b'{"id": "0"}'))
