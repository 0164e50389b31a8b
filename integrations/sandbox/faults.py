"""Faults that can be switched on: which vendor, how, how often, how many times, for which key."""

import random
from dataclasses import dataclass, field
from typing import Any

from integrations.sandbox.journal import FAULTS

KINDS = frozenset(FAULTS) - {""}
# What goes wrong with a job after it was taken; `seconds` is for how long.
OF_JOBS = frozenset(kind for kind in KINDS if kind.startswith(("job_", "callback_")))
SLOW_SECONDS = 5.0


@dataclass(slots=True)
class Fault:
    """`rate` is the share of calls that it hits, `left` how many more times (None: no end)."""

    provider: str
    kind: str
    rate: float = 1.0
    left: int | None = None
    key: str = ""
    seconds: float = SLOW_SECONDS
    hits: int = 0

    def told(self) -> dict[str, Any]:
        return {
            "provider": self.provider,
            "kind": self.kind,
            "rate": self.rate,
            "left": self.left,
            "seconds": self.seconds,
            "hits": self.hits,
        }


@dataclass
class Faults:
    """The faults that are on; chance comes from a seeded source, so a run of calls can be played again."""

    active: list[Fault] = field(default_factory=list)
    chance: random.Random = field(default_factory=lambda: random.Random(1))

    def add(self, fault: Fault) -> None:
        self.active.append(fault)

    def clear(self) -> None:
        self.active.clear()
        self.chance.seed(1)

    def pick(self, provider: str, key: str) -> Fault | None:
        """The fault that hits this call, if any."""
        if not self.active:
            return None
        for fault in self.active:
            if fault.left == 0 or fault.provider not in (provider, "") or fault.key not in (key, ""):
                continue
            if self.chance.random() < fault.rate:
                fault.hits += 1
                if fault.left is not None:
                    fault.left -= 1
                return fault
        return None
