"""What one vendor call came to: a closed set of answers that the engine tells apart and writes down.

Credits are the vendor's own, in thousandths. Reasons are short fixed phrases: never the secret, never the person.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

RetryKind = Literal["rate_limited", "error", "timeout"]
FailKind = Literal["auth_failed", "no_credits", "invalid", "suppressed", "error"]

EMAIL_STATUSES = frozenset(
    {"valid", "catch_all", "unknown", "invalid", "abuse", "do_not_mail", "spamtrap", "unverified"}
)


@dataclass(frozen=True, slots=True)
class Done:
    """The vendor answered the question.

    `answer` is `{"email", "email_status"}` from a finder, with `"sub_status"` as well from a verifier.
    `free` says that the vendor itself called this answer a free repeat.
    """

    answer: dict[str, Any] = field(repr=False)
    credits: int = 0
    free: bool = False

    @property
    def name(self) -> str:
        return "hit"


@dataclass(frozen=True, slots=True)
class Miss:
    """The vendor looked and has nothing; some vendors charge for that in some cases."""

    credits: int = 0

    @property
    def name(self) -> str:
        return "miss"


@dataclass(frozen=True, slots=True)
class Retry:
    """Not answered, may be asked again.

    `after` is how many seconds the vendor asked us to wait, None when it did not say.
    `uncertain` means that the vendor may have done the work, and charged for it, before the answer was lost.
    """

    kind: RetryKind
    reason: str
    after: float | None = None
    uncertain: bool = False

    @property
    def name(self) -> str:
        return self.kind


@dataclass(frozen=True, slots=True)
class Fail:
    """Asking again would not help. `invalid`: the vendor refused this input and charged nothing."""

    kind: FailKind
    reason: str

    @property
    def name(self) -> str:
        return self.kind


@dataclass(frozen=True, slots=True)
class Poll:
    """The vendor took the job; ask for its result `after` seconds from now, with `state`.

    `state` is what `Connector.poll` needs, as JSON: the vendor's name of the job. It is kept in the queue, so it holds
    neither the secret (http.py refuses such a state) nor more of the person than the question does.
    """

    after: float
    state: dict[str, Any] = field(repr=False)

    @property
    def name(self) -> str:
        return "poll"


@dataclass(frozen=True, slots=True)
class AwaitCallback:
    """The vendor took the job and will post the result, within `timeout` seconds, to the address that it was given.

    `token` is the vendor's name of the job, which its post has to carry too; empty where the vendor gives it none.
    """

    token: str = field(repr=False)
    timeout: float

    @property
    def name(self) -> str:
        return "callback"


Outcome = Done | Miss | Retry | Fail | Poll | AwaitCallback
