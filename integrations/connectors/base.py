"""What a connector is: pure code that turns a question into one vendor request and its answer into an outcome.

A connector holds no state and does no I/O. Whatever bytes a vendor sends, `interpret` returns an outcome and never
raises: what it cannot read is `Retry("error", uncertain=True)`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from integrations.outcomes import Outcome

Operation = str
FIND: Operation = "find"
VERIFY: Operation = "verify"

Query = Mapping[str, Any]
"""For find any of first_name, last_name, full_name, company, domain, linkedin_url; for verify email."""

BalanceKind = Literal["", "auth_failed", "no_credits", "rate_limited", "error", "timeout"]


@dataclass(frozen=True, slots=True)
class VendorRequest:
    """One request, relative to the vendor's base URL. Its repr shows neither secret nor person."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    params: Mapping[str, str] | None = field(default=None, repr=False)
    json: Mapping[str, Any] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class VendorResponse:
    """What came back; header names are in lower case, the body is decompressed and at most 1 MiB."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Window:
    """At most `rate` starts in any `period` seconds, counted over `group` ("" = all, else one operation)."""

    rate: int
    period: float
    group: str = ""


@dataclass(frozen=True, slots=True)
class Quota:
    """What the vendor's headers say is left of its window of `period` seconds."""

    remaining: int
    reset_after: float | None
    period: float


@dataclass(frozen=True, slots=True)
class Balance:
    """What a key has left, in thousandths of a credit (None: not told), and whether the key works at all."""

    credits: int | None = None
    ok: bool = True
    kind: BalanceKind = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Clarify:
    """The answer has two readings; one more request, built from the secret, decides between them."""

    request: Callable[[str], VendorRequest]


class Connector(ABC):
    """One vendor. Subclasses state the vendor's facts as class attributes."""

    provider: ClassVar[str]
    title: ClassVar[str]
    base_url: ClassVar[str]
    operations: ClassVar[frozenset[Operation]]
    windows: ClassVar[tuple[Window, ...]]
    """Limits of the vendor's smallest paid plan: what a connection gets when its owner states none."""
    plans: ClassVar[Mapping[str, tuple[Window, ...]]] = {}
    """Limits by the vendor's plan name, where it sells different ones."""
    parallelism: ClassVar[int]
    timeout: ClassVar[float]
    """Seconds for a whole call, connection included."""
    repeat_is_free: ClassVar[bool]
    """Whether the vendor does not charge a second time for the same question."""

    @abstractmethod
    def worst_credits(self, operation: Operation) -> int:
        """The most that one call may cost, in thousandths."""

    @abstractmethod
    def fingerprint(self, operation: Operation, query: Query) -> str:
        """32 hex digits that are equal for questions which this vendor would answer alike."""

    @abstractmethod
    def can_ask(self, operation: Operation, query: Query) -> bool:
        """Whether the query has the least that this vendor accepts."""

    @abstractmethod
    def request(self, operation: Operation, query: Query, secret: str) -> VendorRequest:
        """The request that asks `query`; meaningful only where `can_ask` says yes."""

    @abstractmethod
    def interpret(self, operation: Operation, response: VendorResponse) -> Outcome | Clarify:
        """What the answer means, with the credits it cost."""

    def interpret_clarification(self, operation: Operation, response: VendorResponse | None) -> Outcome:
        """Settles a `Clarify`; None when the second request got no answer."""
        raise NotImplementedError(f"{self.provider} never asks for clarification")

    def quota(self, response: VendorResponse) -> list[Quota]:
        """What the headers say is left; empty for vendors that do not tell."""
        return []

    @abstractmethod
    def balance_request(self, secret: str) -> VendorRequest:
        """A free request that shows whether the key works."""

    @abstractmethod
    def interpret_balance(self, response: VendorResponse) -> Balance:
        """What the answer to `balance_request` says."""
