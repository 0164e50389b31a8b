"""What a sandbox vendor is: how it reads a request and how it words its answers."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import orjson

from integrations.sandbox.accounts import Account, Terms
from integrations.sandbox.faults import Fault
from integrations.sandbox.people import Person

JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Incoming:
    """A request, its path without the vendor's name in front; header names compare without case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> dict[str, Any] | None:
        try:
            parsed = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return None
        return parsed if isinstance(parsed, dict) else None


NO_PERSON = Person("", "")


@dataclass(slots=True)
class Ask:
    """What a request asks for: `data` None means that its body could not be read.

    `group` names a path with a cap of its own on calls in flight. `each` has the questions of a call that asks several.
    """

    operation: str
    key: str
    data: dict[str, Any] | None
    person: Person = NO_PERSON
    group: str = ""
    fault: Fault | None = None
    """One that the vendor itself acts out (faults.OF_JOBS)."""
    each: "list[Ask] | None" = None

    @property
    def question(self) -> str:
        return f"{self.operation}|{self.group}|{self.person.question}"


@dataclass(slots=True)
class Reply:
    """An answer; `outcome` is the journal's word for it, credits are in thousandths.

    `each` has both for every question of a call that asked several; without it they all have the call's outcome.
    """

    status: int
    body: bytes
    outcome: str
    credits: int = 0
    content_type: str = JSON
    headers: dict[str, str] = field(default_factory=dict)
    each: list[tuple[str, int]] | None = None


def reply(
    status: int, body: Any, outcome: str, credits: int = 0, headers: dict[str, str] | None = None
) -> Reply:
    return Reply(status, orjson.dumps(body), outcome, credits, headers=headers or {})


class Vendor(ABC):
    name: ClassVar[str]
    terms: ClassVar[Terms]
    median_seconds: ClassVar[float]
    bad_calls_an_hour: ClassVar[int | None] = None
    """More calls than this with a bad key, and the vendor treats them as over the limit."""

    @abstractmethod
    def read(self, incoming: Incoming) -> Ask | Reply:
        """The question, or the answer to a request that asks none."""

    @abstractmethod
    def answer(self, ask: Ask, account: Account) -> Reply:
        """Looks the person up and charges the account."""

    @abstractmethod
    def bad_key(self, ask: Ask) -> Reply: ...

    @abstractmethod
    def no_credits(self, ask: Ask) -> Reply: ...

    @abstractmethod
    def over_limit(self, ask: Ask) -> Reply: ...

    def extra_headers(self, account: Account, now: float) -> dict[str, str]:
        """Headers that every answer to a known key carries."""
        return {}


def words(value: Any) -> str:
    return " ".join(value.split()) if isinstance(value, str) else ""
