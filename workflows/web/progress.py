"""A run's progress in words and in segments of a bar. Pure functions over what was read."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.utils import timezone

from tenants.web import figures, statuses
from workflows.lane_queries import COUNTED, RunLane
from workflows.models import Run
from workflows.queries import Finish
from workflows.states import RecordStatus, RunStatus
from workflows.web import describe

# In the order in which they fill the bar; what is left of it is queued.
_SEGMENTS = (
    (RecordStatus.FOUND, "green"),
    (RecordStatus.DONE, "green"),
    (RecordStatus.NOT_FOUND, "grey"),
    (RecordStatus.SKIPPED, "amber"),
    (RecordStatus.FAILED, "red"),
    (RecordStatus.CANCELLED, "hatch"),
    (RecordStatus.RUNNING, "blue"),
)
# So many steps wait without a reason while calls are being started.
A_MOMENT = 20
_ALWAYS_SHOWN = (RecordStatus.FOUND, RecordStatus.NOT_FOUND, RecordStatus.FAILED)


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of the bar: `x` and `width` in per cent of it."""

    status: str
    word: str
    fill: str
    count: int
    x: str
    width: str
    shown: bool


def segments(run: Run) -> list[Segment]:
    """The bar of a run, one segment per status, also of those that have no record yet (so that they can grow)."""
    parts, x = [], 0.0
    for status, fill in _SEGMENTS:
        number = getattr(run, status.value)
        width = 100 * number / run.total if run.total else 0.0
        shown = (
            bool(number) or status in _ALWAYS_SHOWN or (status == RecordStatus.RUNNING and not run.is_final)
        )
        parts.append(
            Segment(
                status.value,
                statuses.shown(status.value).word,
                fill,
                number,
                f"{x:.3f}%",
                f"{width:.3f}%",
                shown,
            )
        )
        x += width
    word = statuses.shown("queued").word
    parts.append(
        Segment("queued", word, "none", run.queued, "100%", "0%", shown=bool(run.queued) or not run.is_final)
    )
    return parts


def headline(run: Run, lanes: Sequence[RunLane] = (), finish: datetime | None = None) -> str:
    """The state of a run in one line: what came of it, what it waits for, when it ends."""
    found = f"{run.found + run.done:,} of {run.total:,} {'done' if run.done else 'found'}"
    if run.status == RunStatus.COMPLETED:
        return found
    if run.status == RunStatus.FAILED:
        return f"The run stopped with {found}"
    if run.status == RunStatus.CANCELLED:
        return f"Cancelled with {found}"
    if run.status == RunStatus.PAUSED:
        return f"Paused with {found}, {run.pending:,} left"
    waits, ends = _waits(lanes), done_about(finish) if finish else ""
    parts = [part for part in (found, waits, ends) if part]
    if len(parts) == 1 and run.pending:
        parts.append(f"{run.pending:,} under way")
    return ", ".join(parts)


def done_about(finish: datetime) -> str:
    """“done about 14:32”, in the viewer's zone; with the day where it is another one."""
    if (finish - timezone.now()).total_seconds() < 60:
        return "done within a minute"
    return f"done about {_moment(finish)}"


def done_between(finish: Finish) -> str:
    """“nine in ten such runs end from 14:25 to 14:50”; empty where that is one and the same minute, or soon."""
    soonest, latest = _moment(finish.soonest), _moment(finish.latest)
    if soonest == latest or (finish.latest - timezone.now()).total_seconds() < 60:
        return ""
    return f"nine in ten such runs end from {soonest} to {latest}"


def _moment(at: datetime) -> str:
    local, today = timezone.localtime(at), timezone.localtime(timezone.now()).date()
    return f"{local:%H:%M}" if local.date() == today else f"{figures.day(local)}, {local:%H:%M}"


def details(run: Run) -> str:
    """What the headline leaves out: the other outcomes, and how long it took."""
    parts = [f"{run.not_found:,} not found"] if run.not_found else []
    parts += [
        f"{number:,} {statuses.shown(status.value).word.lower()}"
        for status in (RecordStatus.FAILED, RecordStatus.SKIPPED, RecordStatus.CANCELLED)
        if (number := getattr(run, status.value))
    ]
    if run.finished_at and run.started_at:
        parts.append(f"took {figures.span((run.finished_at - run.started_at).total_seconds())}")
    return ", ".join(parts)


def finding_rate(run: Run) -> str:
    """The share of found records among those that reached an end of their own."""
    return figures.percent(run.found + run.done, answered(run))


def answered(run: Run) -> int:
    """How many records reached an end of their own: cancelled ones did not."""
    return max(0, run.finished_records - run.cancelled)


def _waits(lanes: Sequence[RunLane]) -> str:
    """“34 waiting for ZeroBounce's rate” of the fullest lane, where that is more than a moment's work."""
    for lane in lanes:
        if lane.wait_reason and lane.waiting:
            what = describe.wait_words(lane.wait_reason, lane.provider)
        elif lane.waiting > A_MOMENT:
            what = describe.vendor_title(lane.provider)
        else:
            continue
        more = "+" if lane.waiting >= COUNTED else ""
        return f"{lane.waiting:,}{more} waiting for {what}"
    return ""
