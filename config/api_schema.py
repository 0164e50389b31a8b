"""What the OpenAPI description says of every operation alike: errors, headers, idempotency keys, examples."""

from http import HTTPStatus
from typing import Any, Final

from config import api_examples, webhook_schema
from config.api_errors import CODES

METHODS: Final = ("get", "post", "put", "patch", "delete")
PROBLEM: Final = "application/problem+json"
# What any request may be answered, whatever the route.
ALWAYS: Final = (400, 401, 403, 429, 500, 503)
WITH_BODY: Final = (411, 413, 415, 422)
_HEADERS: Final[dict[str, dict[str, Any]]] = {
    "X-Request-Id": {
        "description": "Names this request; say it when you ask about one.",
        "schema": {"type": "string"},
        "example": "J7pK2mXw9QzR4tVb6nYc8d",
    },
    "Retry-After": {
        "description": "After how many seconds to try again.",
        "schema": {"type": "integer", "minimum": 0},
        "example": 5,
    },
    "X-RateLimit-Limit": {
        "description": "Requests in any minute that all keys of the tenant may make together; on 429 the limit hit.",
        "schema": {"type": "integer", "minimum": 0},
        "example": 100,
    },
    "X-RateLimit-Remaining": {
        "description": "How many of them are left.",
        "schema": {"type": "integer", "minimum": 0},
        "example": 87,
    },
    "X-RateLimit-Reset": {
        "description": "Unix time when all of them are free again, if nothing is asked meanwhile.",
        "schema": {"type": "integer"},
        "example": 1795852800,
    },
    "RateLimit-Policy": {
        "description": "Every limit: its name, `q` requests in any `w` seconds.",
        "schema": {"type": "string"},
        "example": '"key";q=100;w=1, "tenant";q=100;w=60',
    },
    "RateLimit": {
        "description": "How you stand: `r` requests remain, all are free again in `t` seconds.",
        "schema": {"type": "string"},
        "example": '"key";r=99;t=2, "tenant";r=87;t=61',
    },
    "Idempotency-Replayed": {
        "description": "`true` where the answer was given before, to the same key and body.",
        "schema": {"type": "string", "enum": ["true"]},
    },
}
# On every answer to a request with a valid key, but while Redis is away.
_LIMITS: Final = (
    "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "RateLimit-Policy", "RateLimit",
)  # fmt: skip
_KEY_PARAMETER: Final[dict[str, Any]] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": (
        "The same key and body again within 24 hours: the same answer, with `Idempotency-Replayed: true`, and no "
        "second effect. Up to 255 printable ASCII characters; a UUID, say."
    ),
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~][ -~]*$"},
    "example": "5f0c8f1e-7a53-4d0e-9b1c-2f6d1f0a7c11",
}


def complete(result: dict[str, Any], generator: Any, request: Any, public: bool) -> dict[str, Any]:
    """The description with what every operation has in common (a hook of drf-spectacular)."""
    components = result.setdefault("components", {})
    components["headers"] = _HEADERS
    result["webhooks"] = webhook_schema.webhooks()
    components["responses"] = {
        f"Problem{status}": _problem(status) for status in sorted({s for _, (s, *_) in CODES.items()})
    }
    for path, operations in result["paths"].items():
        for method in METHODS:
            if method in operations:
                _operation(method, path, operations[method])
                _close_bodies(components["schemas"], operations[method].get("requestBody", {}))
    return result


def _close_bodies(schemas: dict[str, Any], part: Any) -> None:
    """Bodies have the fields that are declared and no others (tenants/api/base.py, `Body`)."""
    if isinstance(part, dict):
        if name := str(part.get("$ref", "")).rpartition("/")[2]:
            shape = schemas[name]
            if shape.get("type") == "object" and "additionalProperties" not in shape:
                shape["additionalProperties"] = False
                if shape.get("description", "").startswith("The shape of a body."):
                    del shape["description"]
                _close_bodies(schemas, shape)
        for inner in part.values():
            _close_bodies(schemas, inner)
    elif isinstance(part, list):
        for inner in part:
            _close_bodies(schemas, inner)


def _operation(method: str, path: str, operation: dict[str, Any]) -> None:
    name, answers = operation["operationId"], operation["responses"]
    statuses = {*ALWAYS, *(int(status) for status in answers if int(status) >= 400)}
    parameters = operation.setdefault("parameters", [])
    if "requestBody" in operation:
        statuses |= {*WITH_BODY}
    if any(parameter["in"] == "query" for parameter in parameters):
        statuses.add(422)
    if "{" in path:
        statuses.add(404)
    if method == "post":
        statuses |= {409, 422}
        parameters[:] = [p for p in parameters if p["name"] != "Idempotency-Key"] + [_KEY_PARAMETER]
    good = {status: answer for status, answer in answers.items() if int(status) < 400}
    for answer in good.values():
        answer["headers"] = {
            header: {"$ref": f"#/components/headers/{header}"} for header in ("X-Request-Id", *_LIMITS)
        }
        if method == "post":
            answer["headers"]["Idempotency-Replayed"] = {"$ref": "#/components/headers/Idempotency-Replayed"}
        for content in answer.get("content", {}).values():
            if name in api_examples.ANSWERS:
                content["example"] = api_examples.ANSWERS[name]
    for content in operation.get("requestBody", {}).get("content", {}).values():
        if name in api_examples.REQUESTS:
            content["example"] = api_examples.REQUESTS[name]
    operation["responses"] = good | {
        str(status): {"$ref": f"#/components/responses/Problem{status}"} for status in sorted(statuses)
    }


def _problem(status: int) -> dict[str, Any]:
    """The answer with this status: what it may be about, and an example of each code."""
    codes = {code: (title, cause) for code, (of, title, cause, _) in CODES.items() if of == status}
    headers = ["X-Request-Id", *(["Retry-After"] if status in (429, 503) else []), *_LIMITS]
    return {
        "description": f"{HTTPStatus(status).phrase}: {', '.join(f'`{code}`' for code in codes)}.",
        "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in headers},
        "content": {
            PROBLEM: {
                "schema": {"$ref": "#/components/schemas/Problem"},
                "examples": {
                    code: {"value": _example(status, code, title, cause)}
                    for code, (title, cause) in codes.items()
                },
            }
        },
    }


def _example(status: int, code: str, title: str, cause: str) -> dict[str, Any]:
    return {
        "type": f"urn:weir:problem:{code}",
        "title": title,
        "status": status,
        "detail": cause,
        "code": code,
        "errors": [],
        "request_id": "J7pK2mXw9QzR4tVb6nYc8d",
    }
