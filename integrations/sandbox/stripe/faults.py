"""What can be made to go wrong, and how often; and answers kept by idempotency key, as v1 keeps them."""

import random
from collections import Counter
from dataclasses import dataclass, field

import orjson

from integrations.sandbox.stripe.forms import Refusal
from integrations.sandbox.stripe.shapes import DAY, Row

KINDS = {
    "error_before": "500, and nothing was done",
    "error_after": "500, and it was done all the same; the key keeps the 500",
    "lost_before": "the connection ends, and nothing was done",
    "lost_after": "the connection ends, and it was done all the same",
    "hang_before": "no answer comes until the caller gives up, and nothing was done",
    "hang_after": "it was done, and no answer comes until the caller gives up",
    "hang_late": "no answer comes until the caller gives up, and it is done only then",
    "rate_limit": "429, and nothing was done",
    "hooks_twice": "a delivery is sent twice",
    "hooks_reordered": "deliveries that are due go out in any order",
    "hooks_late": "a delivery is put off for up to two seconds",
}
KEPT_S = DAY


@dataclass(slots=True)
class Fault:
    """`rate` is the share that it hits, `left` how many more times (None: no end), `path` what addresses contain."""

    kind: str
    rate: float = 1.0
    left: int | None = None
    path: str = ""


@dataclass
class Faults:
    active: list[Fault] = field(default_factory=list)
    chance: random.Random = field(default_factory=lambda: random.Random(1))
    struck: Counter[str] = field(default_factory=Counter)
    """How often each kind hit since they were cleared last."""

    def add(self, kind: str, *, rate: float = 1.0, count: int | None = None, path: str = "") -> None:
        """Raises ValueError for a kind that is not in KINDS."""
        if kind not in KINDS:
            raise ValueError(f"unknown kind {kind!r}; there are {', '.join(KINDS)}")
        self.active.append(Fault(kind, rate, count, path))

    def clear(self) -> None:
        self.active.clear()
        self.struck.clear()
        self.chance.seed(1)

    def strikes(self, kind: str) -> bool:
        """Whether a fault of this kind hits now."""
        return any(self._hits(fault) for fault in self.active if fault.kind == kind)

    def of_call(self, path: str) -> str:
        """The fault that hits a request to this path; empty for none."""
        for fault in self.active:
            if not fault.kind.startswith("hooks_") and fault.path in path and self._hits(fault):
                return fault.kind
        return ""

    def _hits(self, fault: Fault) -> bool:
        if fault.left == 0 or self.chance.random() >= fault.rate:
            return False
        if fault.left is not None:
            fault.left -= 1
        self.struck[fault.kind] += 1
        return True


@dataclass
class Answers:
    """By idempotency key: what was asked, and what was answered, a saved 500 included. Kept for a day."""

    kept: dict[str, Row] = field(default_factory=dict)

    def find(self, key: str, path: str, params: Row, now: int) -> tuple[int, bytes] | None:
        """The saved answer. Raises Refusal where the key was used for something else."""
        entry = self.kept.get(key)
        if entry is None or now - entry["at"] >= KEPT_S:
            self.kept.pop(key, None)
            return None
        if entry["asked"] != _asked(path, params):
            raise Refusal(
                "Keys for idempotent requests can only be used with the same parameters they were first used with.",
                kind="idempotency_error",
            )
        return entry["status"], entry["body"]

    def keep(self, key: str, path: str, params: Row, now: int, status: int, body: bytes) -> None:
        self.kept[key] = {"asked": _asked(path, params), "at": now, "status": status, "body": body}

    def forget(self) -> None:
        self.kept.clear()


def _asked(path: str, params: Row) -> bytes:
    return path.encode() + b"?" + orjson.dumps(params, option=orjson.OPT_SORT_KEYS)
