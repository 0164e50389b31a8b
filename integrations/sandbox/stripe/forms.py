"""What v1 sends and answers: bracketed forms in, objects out, errors with a type, a code and the parameter's name."""

import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl

_PART = re.compile(r"\[([^\]]*)\]")


class Refusal(Exception):
    """An answer that is an error. `kept`: it came of the work itself, so its idempotency key keeps it."""

    def __init__(
        self, message: str, *, status: int = 400, kind: str = "invalid_request_error", code: str | None = None,
        param: str | None = None, kept: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(message)
        self.status, self.kept = status, kept
        self.body = {
            "error": {"type": kind, "code": code, "message": message, "param": param, "doc_url": None}
        }


def missing(kind: str, wanted: object, param: str = "id") -> Refusal:
    return Refusal(f"No such {kind}: '{wanted}'", status=404, code="resource_missing", param=param)


def needed(param: str) -> Refusal:
    return Refusal(f"Missing required param: {param}.", code="parameter_missing", param=param)


def parse(text: str) -> dict[str, Any]:
    """A bracketed form or query string as nested dicts; numbered keys become lists. Values stay text."""
    tree: dict[str, Any] = {}
    for key, value in parse_qsl(text, keep_blank_values=True):
        head, _, _ = key.partition("[")
        path = [head, *_PART.findall(key)]
        node = tree
        for part in path[:-1]:
            node = node.setdefault(part, {})
            if not isinstance(node, dict):
                raise Refusal(f"Invalid parameter: {key}", param=key)
        if path[-1] == "":
            node[str(len(node))] = value
        else:
            node[path[-1]] = value
    return {key: _listed(value) for key, value in tree.items()}


def _listed(node: Any) -> Any:
    if not isinstance(node, dict):
        return node
    values = {key: _listed(value) for key, value in node.items()}
    if values and all(key.isdigit() for key in values):
        return [values[key] for key in sorted(values, key=int)]
    return values


def whole(params: dict[str, Any], name: str, default: int | None = None) -> int | None:
    value = params.get(name)
    if value is None or value == "":
        return default
    try:
        return int(value)
    except (TypeError, ValueError):
        raise Refusal(f"Invalid integer: {value}", param=name, code="parameter_invalid_integer") from None


def truth(value: Any) -> bool:
    return str(value).lower() == "true"


def only(params: dict[str, Any], known: Iterable[str]) -> None:
    """Refuse what this double would otherwise silently leave out."""
    for name in params:
        if name not in known:
            raise Refusal(f"Received unknown parameter: {name}", code="parameter_unknown", param=name)
