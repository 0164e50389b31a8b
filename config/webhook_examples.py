"""Examples of the operations of webhooks, as in api_examples.py."""

from typing import Any, Final

from integrations.webhooks.samples import sample

_AT = "2026-03-02T09:30:02.910000Z"
_ENDPOINT: dict[str, Any] = {
    "id": "0198f0e1-2a3b-7c4d-9e5f-6a7b8c9d0e22",
    "kind": "endpoint",
    "url": "https://hooks.example.com/weir",
    "description": "CRM",
    "events": ["run.completed", "run.failed"],
    "status": "enabled",
    "disabled_reason": None,
    "disabled_at": None,
    "failing_since": None,
    "last_ok_at": _AT,
    "created_at": "2026-03-01T08:00:00Z",
}
_NEW = {**_ENDPOINT, "last_ok_at": None, "secret": "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="}
_ATTEMPT = {"number": 1, "started_at": _AT, "latency_ms": 84, "http_status": 200, "error": ""}
_DELIVERY: dict[str, Any] = {
    "id": "0198f0e2-3b4c-7d5e-8f60-7b8c9d0e1f33",
    "event": "run.completed",
    "webhook_id": "msg_0198f0e23b4b7a19b0c1d2e3f4a5b6c7",
    "url": "https://hooks.example.com/weir",
    "status": "delivered",
    "attempts": [_ATTEMPT],
    "next_attempt_at": None,
    "created_at": _AT,
    "finished_at": "2026-03-02T09:30:03.020000Z",
}
_DETAIL = {
    **_DELIVERY,
    "attempts": [{**_ATTEMPT, "answer": "ok"}],
    "body": {"type": "run.completed", "timestamp": _AT, "data": sample("run.completed", _AT)},
}
_WAITING = {**_DETAIL, "status": "waiting", "next_attempt_at": _AT, "finished_at": None}


def _page(item: Any) -> dict[str, Any]:
    return {"data": [item], "next": None, "previous": None}


REQUESTS: Final[dict[str, Any]] = {
    "webhook_endpoints_create": {
        "url": "https://hooks.example.com/weir",
        "events": ["run.completed", "run.failed"],
    },
    "webhook_endpoints_rotate": {"overlap_seconds": 86400},
    "webhook_endpoints_test": {"event": "run.completed"},
    "webhook_endpoints_update": {"status": "disabled"},
}

ANSWERS: Final[dict[str, Any]] = {
    "webhook_deliveries_list": _page(_DELIVERY),
    "webhook_deliveries_resend": _WAITING,
    "webhook_deliveries_retrieve": _DETAIL,
    "webhook_endpoints_create": _NEW,
    "webhook_endpoints_list": _page(_ENDPOINT),
    "webhook_endpoints_retrieve": _ENDPOINT,
    "webhook_endpoints_rotate": _NEW,
    "webhook_endpoints_test": {**_WAITING, "attempts": []},
    "webhook_endpoints_update": {
        **_ENDPOINT, "status": "disabled", "disabled_reason": "person", "disabled_at": "2026-03-02T10:00:00Z",
    },
}  # fmt: skip
