"""What a workflow template is: a name, a configuration, and a pure function that says what comes next.

No I/O anywhere in this package, so every path is tested without a database.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

# What may follow a step as far as a template is concerned; waiting and repeating are the engine's business.
ANSWERED = ("hit", "miss", "invalid", "cached", "skipped")


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with one field of a record or of a configuration."""

    field: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask this vendor next."""

    operation: str
    provider: str
    query: dict[str, str]

    @property
    def name(self) -> str:
        return f"{self.operation}:{self.provider}"


@dataclass(frozen=True, slots=True)
class Final:
    """The record is done: its status, its output, and an error `{"code", "message"}` where it failed."""

    status: str
    output: dict[str, Any] | None = None
    error: dict[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Taken:
    """A step that ended: what was asked of whom, and what came back. Credits in thousandths."""

    operation: str
    provider: str
    outcome: str
    answer: Mapping[str, Any] = field(default_factory=dict)
    credits: int = 0

    def to_json(self) -> dict[str, Any]:
        return {
            "operation": self.operation,
            "provider": self.provider,
            "outcome": self.outcome,
            "answer": dict(self.answer),
            "credits": self.credits,
        }

    @property
    def came_to_nothing(self) -> bool:
        """Whether the vendor failed, or was passed over because it was out of service."""
        passed_over = self.outcome == "skipped" and self.answer.get("why") == "outage"
        return passed_over or self.outcome in ("error", "timeout")

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Taken":
        return cls(
            data["operation"], data["provider"], data["outcome"], data["answer"] or {}, data["credits"]
        )


class Template(Protocol):
    """A workflow template. All methods are pure."""

    slug: str
    title: str
    description: str
    config_schema: dict[str, Any]

    @property
    def fields(self) -> Sequence[str]:
        """The fields that a record may have for this template, for mapping pages and docs."""
        ...

    def default_config(self) -> dict[str, Any]:
        """The configuration of a new workflow."""
        ...

    def clean_config(self, config: Mapping[str, Any]) -> tuple[dict[str, Any], list[Fault]]:
        """The configuration with defaults filled in, and what is wrong with it."""
        ...

    def providers(self, config: Mapping[str, Any]) -> list[tuple[str, str]]:
        """The (operation, provider) pairs that a run may use, in order of first use; each needs a connection."""
        ...

    def clean_record(self, raw: Mapping[str, Any]) -> tuple[dict[str, str], list[Fault]]:
        """The record's input as it is kept, and what is wrong with it; a faulty record fails alone."""
        ...

    def advance(
        self, config: Mapping[str, Any], record: Mapping[str, str], taken: Sequence[Taken]
    ) -> Ask | Final:
        """What comes next after these steps; called with none for a new record."""
        ...

    def give_up(self, taken: Sequence[Taken]) -> dict[str, Any] | None:
        """The output of a record that may not go on (a credit cap): the best of what was paid for, or None."""
        ...
