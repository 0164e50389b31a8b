"""Bodies that do not come: few callers that are not known may wait for theirs at once, so that they stop nobody else.

granian gives a request to one of its threads when its headers are there, and waits for its body without limit
(docs/decisions/0027-what-stands-before-the-web-process.md).
"""

import io
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

import structlog

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]

KNOWN: Final = "weir.known"
"""In the environment of a request that came with a valid key, or from somebody who is signed in."""
AT_ONCE: Final = 2
"""Threads of a process, out of those that the Procfile gives it, that may wait for bodies of callers that are not known."""
TURN_S: Final = 0.1
"""A body that is under way is there by then: the next caller need not be refused for it."""
KNOWN_FOR_S: Final = 3_600.0
MOST_KNOWN: Final = 10_000
IN_MEMORY: Final = 1_048_576
DETAIL: Final = "Too many bodies are on their way. Nothing was changed; try again in a few seconds."
_log = structlog.stdlib.get_logger("weir.bodies")


class Bodies:
    """WSGI middleware. Who sent a valid key, or was signed in, within the last hour is known, and costs a look into a
    dictionary."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._known: dict[str, float] = {}
        self._turns = threading.BoundedSemaphore(AT_ONCE)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        credential = (
            environ.get("HTTP_AUTHORIZATION") or environ.get("HTTP_X_API_KEY") or environ.get("HTTP_COOKIE")
        )
        if credential:
            if self._known.get(credential, 0.0) > time.monotonic():
                return self._application(environ, start_response)
            start_response = self._noting(credential, environ, start_response)
        length = environ.get("CONTENT_LENGTH", "")
        if length in ("", "0") or not length.isdigit():
            return self._application(environ, start_response)
        if not self._turns.acquire(timeout=TURN_S):
            _log.warning("body_refused", ip=environ.get("REMOTE_ADDR"))
            return _refusal(environ, start_response)
        source = _Turn(environ["wsgi.input"], int(length), self._turns.release)
        environ["wsgi.input"] = source
        try:
            if source.left <= IN_MEMORY:
                environ["wsgi.input"] = io.BytesIO(source.whole())
            # A file: its view reads it, and gives the turn back with the last of it.
            return self._application(environ, start_response)
        finally:
            source.end()

    def _noting(self, credential: str, environ: Environ, start_response: StartResponse) -> StartResponse:
        def noting(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            # The answer alone tells nothing: anybody is redirected to https, and told which origins may ask.
            if environ.get(KNOWN):
                if len(self._known) >= MOST_KNOWN:
                    self._known.clear()
                self._known[credential] = time.monotonic() + KNOWN_FOR_S
            return start_response(status, headers, *rest)

        return noting


class _Turn:
    """A body that is waited for, until the last of it is there, its caller has gone, or nobody reads it any more."""

    def __init__(self, source: Any, length: int, release: Callable[[], None]) -> None:
        self._source, self.left, self._release = source, length, release
        self._ended = False

    def read(self, size: int = -1) -> bytes:
        return self._took(self._source.read(self.left if size < 0 else size))

    def readline(self, size: int = -1) -> bytes:
        return self._took(self._source.readline(self.left if size < 0 else size))

    def whole(self) -> bytes:
        """All of it; less where its caller went."""
        parts: list[bytes] = []
        while self.left > 0 and (part := self.read()):
            parts.append(part)
        self.end()
        return b"".join(parts)

    def end(self) -> None:
        if not self._ended:
            self._ended = True
            self._release()

    def _took(self, part: bytes) -> bytes:
        self.left -= len(part)
        if not part or self.left <= 0:
            self.end()
        return part


def _refusal(environ: Environ, start_response: StartResponse) -> list[bytes]:
    request_id = secrets.token_hex(11)
    content, kind = DETAIL.encode(), "text/plain; charset=utf-8"
    if environ["PATH_INFO"].startswith("/api/"):
        kind = "application/problem+json"
        content = json.dumps(
            {
                "type": "urn:weir:problem:unavailable", "title": "Not available right now", "status": 503,
                "detail": DETAIL, "code": "unavailable", "errors": [], "request_id": request_id,
            }
        ).encode()  # fmt: skip
    start_response(
        "503 Service Unavailable",
        [
            ("Content-Type", kind), ("Content-Length", str(len(content))), ("X-Request-Id", request_id),
            ("Retry-After", "5"), ("Cache-Control", "no-store"), ("Connection", "close"),
        ],
    )  # fmt: skip
    return [content]
