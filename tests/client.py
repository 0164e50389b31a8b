"""The API as an integrator calls it, through the whole stack of middleware."""

import json
from collections.abc import Mapping
from typing import Any

from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

BASE = "/api/v1"
_ABSENT = object()


class Api:
    """Calls with one API key. Paths are relative to /api/v1; a full address, as in `next`, works as well.

    `answer.json()` reads the body. With `raises=False` a fault in a view is a 500, as it would be for a caller.
    """

    def __init__(self, key: str, *, raises: bool = True) -> None:
        self.key = key
        self._client = Client(raise_request_exception=raises)

    def get(self, path: str, **headers: str) -> Any:
        return self.send("GET", path, **headers)

    def post(self, path: str, body: Any = _ABSENT, **headers: str) -> Any:
        return self.send("POST", path, body, **headers)

    def patch(self, path: str, body: Any, **headers: str) -> Any:
        return self.send("PATCH", path, body, **headers)

    def delete(self, path: str, **headers: str) -> Any:
        return self.send("DELETE", path, **headers)

    def upload(
        self,
        content: bytes,
        filename: str = "contacts.csv",
        fields: Mapping[str, Any] | None = None,
        **headers: str,
    ) -> Any:
        """POST /uploads, with further form fields."""
        file = SimpleUploadedFile(filename, content, content_type="text/csv")
        return self._client.post(
            f"{BASE}/uploads", {"file": file, **(fields or {})}, headers=self._headers(headers)
        )

    def send(self, method: str, path: str, body: Any = _ABSENT, **headers: str) -> Any:
        """Header names as keywords: Idempotency_Key="…". A body of bytes is sent as it is, all others as JSON."""
        named = self._headers(headers)
        content_type = named.pop("Content-Type", "application/json")
        data = b"" if body is _ABSENT else body if isinstance(body, bytes) else json.dumps(body).encode()
        url = path if path.startswith(("http", "/api/")) else f"{BASE}{path}"
        return self._client.generic(
            method, url, data, content_type=content_type if data else "", headers=named
        )

    def _headers(self, given: Mapping[str, str]) -> dict[str, str]:
        named = {name.replace("_", "-"): value for name, value in given.items()}
        if self.key:
            named.setdefault("Authorization", f"Bearer {self.key}")
        return named
