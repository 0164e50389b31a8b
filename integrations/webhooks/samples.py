"""Made-up data of each event, as test events carry them and the documentation shows them."""

from collections.abc import Callable
from typing import Any, Final

RUN_ID, RECORD_ID, LANE_ID, CONNECTION_ID = (
    f"00000000-0000-7000-8000-00000000000{number}" for number in range(1, 5)
)


def sample(event: str, at: str) -> dict[str, Any]:
    """The data of an event that happened at this moment (ISO 8601). Raises KeyError for one that is not known."""
    return _SAMPLES[event](at)


def _run(at: str, **differs: Any) -> dict[str, Any]:
    names = ("total", "queued", "running", "found", "not_found", "done", "failed", "skipped", "cancelled")
    counts = dict.fromkeys(names, 0) | {"total": 3, "found": 2, "not_found": 1}
    return {
        "id": RUN_ID, "workflow": "email-waterfall", "name": "October leads", "status": "completed", "livemode": False,
        "source": "api", "priority": 5, "records": counts,
        "credits": {"estimated": 9.0, "reserved": 0.0, "spent": 5.0, "limit": None}, "error": None,
        "estimated_finish": None, "created_at": at, "started_at": at, "finished_at": at, "metadata": {},
    } | differs  # fmt: skip


def _failed(at: str) -> dict[str, Any]:
    reason = "The stored file ends after 2 of 3 rows. Upload it again."
    return _run(at, status="failed", source="upload", error=reason)


def _record(at: str) -> dict[str, Any]:
    return {
        "id": RECORD_ID, "run": RUN_ID, "position": 1, "status": "found", "livemode": False,
        "input": {"first_name": "Ada", "last_name": "Lovelace", "domain": "engines.example"},
        "output": {
            "email": "ada@engines.example", "email_status": "valid", "found_by": "prospeo", "verified_by": "zerobounce",
        },
        "error": None, "credits": 2.0,
    }  # fmt: skip


def _lane(at: str) -> dict[str, Any]:
    return {
        "id": LANE_ID, "connection": CONNECTION_ID, "provider": "prospeo", "key_hint": "4f2a", "reason": "no_credits",
    }  # fmt: skip


def _quota(at: str) -> dict[str, Any]:
    return {
        "period": at[:7], "percent": 80, "records_used": 8_000, "records_included": 10_000, "overage_allowed": True,
    }  # fmt: skip


def _plan(at: str) -> dict[str, Any]:
    return {"from": "free", "to": "pro", "reason": "operator"}


_SAMPLES: Final[dict[str, Callable[[str], dict[str, Any]]]] = {
    "run.completed": _run,
    "run.failed": _failed,
    "record.completed": _record,
    "lane.paused": _lane,
    "quota.warning": _quota,
    "plan.changed": _plan,
}
