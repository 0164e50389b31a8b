"""The console's first page: is work flowing, and if not, where does it stand."""

from typing import Any

from django.http import HttpRequest

from integrations.models import Connection
from tenants.ops_console import cells
from workflows import ops_facts
from workflows.states import RunStatus

SHOWN = 10
SEEN = ("workflows.view_run", "workflows.view_lane", "integrations.view_connection")


def context(request: HttpRequest, given: dict[str, Any]) -> dict[str, Any]:
    """Adds the facts to the index page's context, for who may see all that they are made of."""
    if not request.user.has_perms(SEEN):
        return given
    broken = Connection.objects.exclude(status=Connection.Status.OK).select_related("tenant")
    paused, resting = ops_facts.paused_lanes(SHOWN), ops_facts.resting_lanes(SHOWN)
    failed = list(broken.order_by("-id")[:SHOWN])
    waiting = ops_facts.waiting_lanes(SHOWN)
    oldest = ops_facts.oldest_ready()
    counts = ops_facts.runs_under_way()
    under_way = sum(counts.values())
    return given | {
        "stats": [
            _stat("Runs under way", under_way, _of(counts), "workflows_run", "status__exact=running"),
            _stat(
                "Oldest ready step",
                cells.when(oldest),
                "that no call was started for",
                "workflows_stepqueue",
                "",
            ),
            _stat(
                "Paused lanes",
                _capped(paused),
                "by people or by the engine",
                "workflows_lane",
                "paused__exact=1",
            ),
            _stat(
                "Broken connections", _capped(failed), "key, credits or vendor", "integrations_connection", ""
            ),
        ],
        "waiting": waiting,
        "paused": paused,
        "resting": resting,
        "failed": failed,
        "runs": ops_facts.last_runs(SHOWN),
        "shown": SHOWN,
    }


def _stat(label: str, value: Any, note: str, route: str, query: str) -> dict[str, Any]:
    return {
        "label": label,
        "value": value,
        "note": note,
        "route": f"admin:{route}_changelist",
        "query": query,
    }


def _of(counts: dict[str, int]) -> str:
    return ", ".join(
        f"{counts[status]:,} {status}" for status in (RunStatus.RUNNING, RunStatus.QUEUED, RunStatus.PAUSED)
    )


def _capped(rows: list[Any]) -> str:
    return f"{len(rows)}{'+' if len(rows) == SHOWN else ''}"
