"""States and words, once: models, engine, API and pages all use these."""

from django.db.models import TextChoices


class RunStatus(TextChoices):
    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class RecordStatus(TextChoices):
    QUEUED = "queued"
    RUNNING = "running"
    FOUND = "found"
    NOT_FOUND = "not_found", "Not found"
    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"


class StepStatus(TextChoices):
    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    DEAD = "dead"
    AMBIGUOUS = "ambiguous"
    LATE = "late"
    CANCELLED = "cancelled"


class StepOutcome(TextChoices):
    HIT = "hit"
    MISS = "miss"
    CACHED = "cached"
    INVALID = "invalid"
    ERROR = "error"
    TIMEOUT = "timeout"
    RATE_LIMITED = "rate_limited", "Rate limited"
    AUTH_FAILED = "auth_failed", "Key refused"
    NO_CREDITS = "no_credits", "Out of credits"
    SUPPRESSED = "suppressed"
    SKIPPED = "skipped"


class WaitReason(TextChoices):
    RATE = "rate"
    PARALLELISM = "parallelism"
    PAUSED = "paused"
    COOLDOWN = "cooldown"
    BACKOFF = "backoff"
    BREAKER = "breaker"
    BUDGET = "budget"
    TURN = "turn"
    DUPLICATE = "duplicate"
    CALLBACK = "callback"
    POLL = "poll"


class LaneRunState(TextChoices):
    ACTIVE = "active"
    PAUSED = "paused"
    CANCELLED = "cancelled"
    BUDGET = "budget"


FINAL_RUN = (RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED)
FINAL_RECORD = (
    RecordStatus.FOUND,
    RecordStatus.NOT_FOUND,
    RecordStatus.DONE,
    RecordStatus.FAILED,
    RecordStatus.SKIPPED,
    RecordStatus.CANCELLED,
)
RECORD_COUNTS = tuple(RecordStatus.values)
