"""Everything that the page of one run shows, read in one short scope; plain data afterwards."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.http import QueryDict
from django.utils import timezone

from tenants.scope import tenant_scope
from tenants.web import figures, statuses
from workflows import contacts, queries
from workflows.catalog import TEMPLATES
from workflows.models import Record, Run, RunVendor
from workflows.queries import RunLane
from workflows.states import RecordStatus, RunStatus, WaitReason
from workflows.web import describe, progress
from workflows.web.frame import version_of
from workflows.web.paging import Page, page_of, position

_USUAL = (
    RecordStatus.QUEUED, RecordStatus.RUNNING, RecordStatus.FOUND, RecordStatus.NOT_FOUND, RecordStatus.FAILED,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Tab:
    """A filter of the records, with how many there are."""

    status: str
    word: str
    count: int
    current: bool


@dataclass(frozen=True, slots=True)
class VendorRow:
    """What one vendor did for the run."""

    row: RunVendor
    lane: RunLane | None

    @property
    def title(self) -> str:
        return describe.vendor_title(self.row.provider)

    @property
    def now(self) -> str:
        """What it does, and, while there is work, how much waits in its lane and for what."""
        does = describe.operation_word(self.row.operation)
        if self.lane is None:
            return does
        parts = [f"{self.lane.in_flight:,} in flight"] if self.lane.in_flight else []
        if self.lane.waiting:
            reason = self.lane.wait_reason
            parts.insert(
                0,
                f"{self.lane.waiting:,} waiting" + (f" for {describe.wait_words(reason)}" if reason else ""),
            )
        return f"{does}: {', '.join(parts)}" if parts else does

    @property
    def asked(self) -> int:
        """Questions that were answered or failed, with or without a call."""
        return self.row.calls + self.row.cached

    @property
    def hit_rate(self) -> str:
        return figures.percent(self.row.hits, self.row.hits + self.row.misses)

    @property
    def bar(self) -> str:
        """The hits' share of all answers, as the width of a bar."""
        answered = self.row.hits + self.row.misses
        return f"{100 * self.row.hits / answered:.1f}%" if answered else "0%"


@dataclass(frozen=True, slots=True)
class RunView:
    """The page of a run. `version` changes when anything that it shows does."""

    run: Run
    vendors: list[VendorRow]
    why: str
    in_flight: int
    finish: queries.Finish | None
    headline: str
    band: str
    details: str
    segments: list[progress.Segment]
    tabs: list[Tab]
    status: str
    records: Page
    version: str

    def shows_rows_of(self, version: str) -> bool:
        """Whether the rows are those of a page that shows this version."""
        return self.version.partition(".")[2] == version.partition(".")[2]

    @property
    def name(self) -> str:
        return self.run.name or f"Run of {self.run.created_at:%d %b %Y}"

    @property
    def under_way(self) -> bool:
        return not self.run.is_final

    @property
    def elapsed(self) -> float | None:
        if self.run.started_at is None:
            return None
        return ((self.run.finished_at or timezone.now()) - self.run.started_at).total_seconds()

    @property
    def rate(self) -> str:
        return progress.finding_rate(self.run)

    @property
    def answered(self) -> int:
        return progress.answered(self.run)

    @property
    def calls(self) -> int:
        return sum(vendor.row.calls for vendor in self.vendors)

    @property
    def at_its_limit(self) -> bool:
        """Whether work waits for the run's credit limit to be raised."""
        lanes = (vendor.lane for vendor in self.vendors)
        return self.under_way and any(
            lane is not None and lane.wait_reason == WaitReason.BUDGET for lane in lanes
        )

    @property
    def sandbox(self) -> bool:
        return not self.run.livemode


def read_run(tenant_id: uuid.UUID, run_id: uuid.UUID, params: QueryDict) -> RunView:
    """The run with the records that the query string asks for. Raises NotFound."""
    status = params.get("status", "")
    status = status if status in RecordStatus.values else ""
    with tenant_scope(tenant_id):
        run = queries.get_run(run_id)
        vendors = queries.run_vendors(run_id)
        lanes = [] if run.is_final else queries.run_lanes(run)
        finish = queries.finishes([run])[run.pk]
        rows = queries.records(run_id, status or None)
        page = page_of(rows, params, key="position", ascending=True, parse=position)
    by_provider = {lane.provider: lane for lane in lanes}
    page.items[:] = [RecordRow(record) for record in page.items]
    headline = progress.headline(run, lanes, finish.at if finish else None)
    band = progress.done_between(finish) if finish else ""
    return RunView(
        run=run,
        vendors=_vendor_rows(run, vendors, by_provider),
        why=_why(run, lanes),
        in_flight=sum(lane.in_flight for lane in lanes),
        finish=finish,
        headline=headline,
        band=band,
        details=progress.details(run),
        segments=progress.segments(run),
        tabs=_tabs(run, status),
        status=status,
        records=page,
        version=_version(run, vendors, lanes, headline + band, page),
    )


@dataclass(frozen=True, slots=True)
class RecordRow:
    """A record in a list."""

    record: Record

    @property
    def who(self) -> str:
        given = self.record.input
        return contacts.person_name(given) or given.get("email") or given.get("linkedin_url") or "No name"

    @property
    def where(self) -> str:
        given = self.record.input
        return given.get("company") or given.get("domain") or ""

    @property
    def email(self) -> str:
        return (self.record.output or {}).get("email") or ""

    @property
    def email_status(self) -> str:
        return (self.record.output or {}).get("email_status") or ""

    @property
    def found_by(self) -> str:
        provider = (self.record.output or {}).get("found_by")
        return describe.vendor_title(provider) if provider else ""

    @property
    def problem(self) -> str:
        return (self.record.error or {}).get("message", "")


def _vendor_rows(run: Run, rows: Sequence[RunVendor], lanes: Mapping[str, RunLane]) -> list[VendorRow]:
    """A row for every vendor that the run may ask, in its order, also before the first call."""
    known = {(row.operation, row.provider): row for row in rows}
    wanted = [*TEMPLATES[run.template].providers(run.config), *known]
    return [
        VendorRow(
            known.get((operation, provider)) or RunVendor(run=run, provider=provider, operation=operation),
            lanes.get(provider),
        )
        for operation, provider in dict.fromkeys(wanted)
    ]


def _why(run: Run, lanes: Sequence[RunLane]) -> str:
    """Why most of what waits does so, and what ends it."""
    if run.is_final or run.status == RunStatus.PAUSED:
        return ""
    reasons = [lane.wait_reason for lane in lanes if lane.waiting and lane.wait_reason]
    return describe.wait_explained(reasons[0]) if reasons else ""


def _tabs(run: Run, current: str) -> list[Tab]:
    counted = [(status, getattr(run, status)) for status in RecordStatus.values]
    tabs = [Tab("", "All", run.total, not current)]
    steady = () if run.is_final else _USUAL  # no tab moves aside for another while somebody aims at it
    return tabs + [
        Tab(status, statuses.shown(status).word, number, status == current)
        for status, number in counted
        if number or status == current or status in steady
    ]


def _version(run: Run, vendors: Sequence[RunVendor], lanes: Any, headline: str, page: Page) -> str:
    """“<of all but the rows>.<of the rows>”: what the page shows, so that only what changed is sent again."""
    names = ("status", "name", "error", "filled", "finished_at", "started_at", *RecordStatus.values)
    head = (
        [getattr(run, name) for name in (*names, "credits_spent", "credits_reserved", "credit_limit")],
        [(v.provider, v.operation, v.calls, v.hits, v.misses, v.cached, v.errors, v.accepted, v.credits) for v in vendors],
        lanes,
        headline,
    )  # fmt: skip
    rows = [(row.record.pk, row.record.status, row.record.output, row.record.error) for row in page.items]
    return f"{version_of(head)}.{version_of(rows, page.previous, page.next)}"
