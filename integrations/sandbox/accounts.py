"""The vendors' customers: every key that shows up has one, with the vendor's usual limits and plenty of credits."""

from dataclasses import dataclass, field
from typing import Any

from integrations.sandbox.journal import Sums
from integrations.sandbox.limits import Gate, Window
from integrations.sandbox.people import digest

FIRST_CREDITS = 1_000_000 * 1000
MOST_ACCOUNTS = 50_000
MOST_REPEATS_KNOWN = 500_000
BAD, EMPTY = "bad", "empty"


@dataclass
class Account:
    """One key of one vendor. Credits are in thousandths, by pool ("" where the vendor has but one)."""

    number: int
    provider: str
    key: str
    gate: Gate
    pools: dict[str, int]
    sums: Sums = field(default_factory=Sums)
    paid: dict[int, int] = field(default_factory=dict)
    refusals: list[float] = field(default_factory=list)
    struck: str = ""
    """The fault about key or credits that struck last, for vendors that are asked which of the two it was."""
    jobs: dict[str, Any] = field(default_factory=dict)
    """What a vendor took on for this key, by the job's name."""

    @property
    def is_bad(self) -> bool:
        return self.key.startswith(BAD)

    def can_pay(self, cost: int, pool: str = "") -> bool:
        return self.pools[pool] >= cost

    def pay(self, cost: int, pool: str = "") -> int:
        self.pools[pool] -= cost
        return cost

    def times_asked(self, question: str) -> int:
        """How often this question was noted before; notes it once more."""
        number = digest(question)
        before = self.paid.get(number, 0)
        self.paid[number] = before + 1
        if len(self.paid) > MOST_REPEATS_KNOWN:
            del self.paid[next(iter(self.paid))]
        return before


@dataclass(frozen=True)
class Terms:
    """What a vendor gives a new key."""

    windows: tuple[Window, ...] = ()
    parallelism: int | None = None
    group_parallelism: dict[str, int] = field(default_factory=dict)
    pools: tuple[str, ...] = ("",)


class Accounts:
    def __init__(self, terms: dict[str, Terms]) -> None:
        self._terms = terms
        self._known: dict[tuple[str, str], Account] = {}
        self.by_number: list[Account] = []
        self.names: list[tuple[str, str]] = []

    def get(self, provider: str, key: str) -> Account:
        account = self._known.get((provider, key))
        return account if account is not None else self._open(provider, key)

    def has(self, provider: str) -> bool:
        return provider in self._terms

    def reset(self) -> None:
        """Forgets every key. The lists stay the same objects: the journal reads them."""
        self._known.clear()
        self.by_number.clear()
        self.names.clear()

    def _open(self, provider: str, key: str) -> Account:
        if len(self.by_number) >= MOST_ACCOUNTS:
            key = BAD
            if (provider, key) in self._known:
                return self._known[provider, key]
        terms = self._terms[provider]
        first = 0 if key.startswith(EMPTY) else FIRST_CREDITS
        gate = Gate(terms.windows, terms.parallelism, dict(terms.group_parallelism))
        account = Account(len(self.by_number), provider, key, gate, dict.fromkeys(terms.pools, first))
        self._known[provider, key] = account
        self.by_number.append(account)
        self.names.append((provider, key))
        return account
