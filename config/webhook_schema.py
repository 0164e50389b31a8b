"""The events in the OpenAPI description: what is posted to tenants' servers (`webhooks` of OpenAPI 3.1)."""

from typing import Any, Final

from integrations.webhooks.samples import sample
from tenants.events import EVENTS

_AT: Final = "2026-03-02T09:30:02.910000Z"
_HEADERS: Final = {
    "webhook-id": ("The same each time that this event is sent: what came before need not be done again.",
                   "msg_0198f0e23b4b7a19b0c1d2e3f4a5b6c7"),
    "webhook-timestamp": ("When this attempt was made, in Unix seconds.", "1772443802"),
    "webhook-signature": ("`v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body`; two while a secret is rotated.",
                          "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4="),
}  # fmt: skip


def webhooks() -> dict[str, Any]:
    """Every event, by name."""
    return {name: {"post": _operation(name, about)} for name, about in EVENTS.items()}


def _operation(name: str, about: str) -> dict[str, Any]:
    data = sample(name, _AT)
    return {
        "operationId": f"event_{name.replace('.', '_')}",
        "summary": name,
        "description": about,
        "tags": ["events"],
        "security": [],
        "parameters": [
            {"name": header, "in": "header", "required": True, "description": words, "schema": {"type": "string"},
             "example": example}
            for header, (words, example) in _HEADERS.items()
        ],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {
                        "type": "object",
                        "required": ["type", "timestamp", "data"],
                        "properties": {
                            "type": {"type": "string", "const": name},
                            "timestamp": {"type": "string", "format": "date-time", "description": "When it happened."},
                            "test": {"type": "boolean", "description": "Present, and true, in test events alone."},
                            "data": _shape_of(name, data),
                        },
                    },
                    "example": {"type": name, "timestamp": _AT, "data": data},
                }
            },
        },
        "responses": {
            "2XX": {"description": "Taken. The body is of no account."},
            "410": {"description": "Never again: the endpoint is switched off."},
            "default": {"description": "It is sent again, ten times over about three days."},
        },
    }  # fmt: skip


def _shape_of(name: str, data: dict[str, Any]) -> dict[str, Any]:
    if name.startswith("run."):
        return {"$ref": "#/components/schemas/Run"}
    properties = {field: _type_of(value) for field, value in data.items()}
    return {"type": "object", "required": list(data), "properties": properties}


def _type_of(value: Any) -> dict[str, Any]:
    match value:
        case None:
            return {"type": ["object", "null"]}
        case bool():
            return {"type": "boolean"}
        case int():
            return {"type": "integer"}
        case float():
            return {"type": "number"}
        case dict():
            return {"type": ["object", "null"]}
    return {"type": "string"}
