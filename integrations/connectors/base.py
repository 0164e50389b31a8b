"""What a connector is: pure code that turns a question into one vendor request and its answer into an outcome.

A connector holds no state and does no I/O. Whatever bytes a vendor sends, `interpret` returns an outcome and never
raises: what it cannot read is `Retry("error", uncertain=True)`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from integrations.body import MAX_BODY
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
    most_back: int = MAX_BODY
    """Bytes that its answer may have."""


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
class Bulk:
    """An endpoint that answers up to `most` questions of one operation in one call.

    Each question counts in the connection's windows as if it were asked alone; `windows` are the endpoint's own, and
    count calls. `timeout` is in seconds, for the whole call.
    """

    most: int
    timeout: float
    windows: tuple[Window, ...] = ()


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
    repeat_is_harmless: ClassVar[bool] = True
    """Whether a call made twice does nothing worse than cost twice. Where not, a call whose outcome is unknown is never
    repeated by the engine: it is looked up, or waits for a person."""
    job_seconds: ClassVar[float] = 3600.0
    """For how long a job (`Poll`, `AwaitCallback`) may be under way before the step counts as timed out."""
    calls_back: ClassVar[frozenset[Operation]] = frozenset()
    """Operations whose request carries an address of ours, to which the vendor posts the result."""
    can_look_up: ClassVar[frozenset[Operation]] = frozenset()
    """Operations of which the vendor can tell afterwards, for nothing, whether it was asked."""
    bulk: ClassVar[Mapping[Operation, Bulk]] = {}
    """Operations that several questions can be asked of in one call."""
    sandbox_only: ClassVar[bool] = False
    """A vendor that exists in the sandbox alone, for development: no page offers it, no other environment has it."""

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

    def request_bulk(self, operation: Operation, queries: Sequence[Query], secret: str) -> VendorRequest:
        """As `request`, for operations in `bulk`: one request for all of these, which have different fingerprints."""
        raise NotImplementedError(f"{self.provider} has no bulk endpoint")

    def interpret_bulk(
        self, operation: Operation, queries: Sequence[Query], response: VendorResponse
    ) -> list[Outcome] | Clarify:
        """What the answer means for each question, in their order. One that the answer leaves out may have been charged
        (`Retry`, uncertain); one that was refused with the others is a `Retry` too: alone it may be answered."""
        raise NotImplementedError(f"{self.provider} has no bulk endpoint")

    def interpret_clarification(self, operation: Operation, response: VendorResponse | None) -> Outcome:
        """Settles a `Clarify`; None when the second request got no answer."""
        raise NotImplementedError(f"{self.provider} never asks for clarification")

    def poll(self, operation: Operation, state: Mapping[str, Any], secret: str) -> VendorRequest:
        """The request that asks for the result of a job; `state` is that of its `Poll`."""
        raise NotImplementedError(f"{self.provider} has no jobs to poll")

    def interpret_poll(
        self, operation: Operation, state: Mapping[str, Any], response: VendorResponse
    ) -> Outcome:
        """`Poll` again while the job is under way, else what it came to. A `Retry` says nothing about the job: it is
        asked for again until `job_seconds` are over."""
        raise NotImplementedError(f"{self.provider} has no jobs to poll")

    def request_with_callback(
        self, operation: Operation, query: Query, secret: str, address: str
    ) -> VendorRequest:
        """As `request`, for operations in `calls_back`: with the address to which the result is to be posted."""
        raise NotImplementedError(f"{self.provider} does not call back")

    def interpret_callback(self, operation: Operation, token: str, body: bytes) -> Outcome | None:
        """What a posted body (at most 1 MiB, from anybody who has the address) says of the job `token`; None where it
        cannot be read or is about another job. `token` is empty where the job's name is not known."""
        raise NotImplementedError(f"{self.provider} does not call back")

    def look_up(self, operation: Operation, query: Query, secret: str) -> VendorRequest:
        """The free request that tells whether the vendor was asked `query`, for operations in `can_look_up`."""
        raise NotImplementedError(f"{self.provider} cannot be asked afterwards")

    def interpret_look_up(self, operation: Operation, response: VendorResponse) -> Outcome:
        """What the earlier call came to; `Miss` where the vendor knows nothing of it, so that asking is safe."""
        raise NotImplementedError(f"{self.provider} cannot be asked afterwards")

    def quota(self, response: VendorResponse) -> list[Quota]:
        """What the headers say is left; empty for vendors that do not tell."""
        return []

    @abstractmethod
    def balance_request(self, secret: str) -> VendorRequest:
        """A free request that shows whether the key works."""

    @abstractmethod
    def interpret_balance(self, response: VendorResponse) -> Balance:
        """What the answer to `balance_request` says."""
