"""The tenant's audit trail: who did what, when, and from where."""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

from django.db.models import QuerySet
from django.http import HttpResponse, QueryDict, StreamingHttpResponse
from django.urls import reverse
from django.utils import timezone

from tenants import team_queries
from tenants.audit_queries import events
from tenants.models import AuditEvent
from tenants.scope import tenant_scope
from tenants.web.access import TenantRequest, tenant_page
from workflows.exports import neutral
from workflows.web import audit_words as words
from workflows.web.frame import render_page
from workflows.web.paging import page_of, row_id

OTHERS = [("key:", "API keys"), ("staff:", "Weir's staff"), ("system:", "Weir itself")]
COLUMNS = ("at", "actor", "verb", "subject_type", "subject_id", "detail", "ip", "request_id")
CHUNK = 1_000


@dataclass(frozen=True, slots=True)
class Row:
    """An entry in words."""

    event: AuditEvent

    @property
    def who(self) -> str:
        return words.who(self.event.actor)

    @property
    def what(self) -> str:
        return words.what(self.event)

    @property
    def more(self) -> str:
        return words.more(self.event)

    @property
    def link(self) -> str:
        """The page of what was touched; empty where it has none."""
        return reverse("run", args=[self.event.subject_id]) if self.event.subject_type == "run" else ""


@dataclass(frozen=True, slots=True)
class Asked:
    """What of the trail is asked for; what cannot be read is not asked for."""

    who: str = ""
    what: str = ""
    subject: str = ""
    since: date | None = None
    until: date | None = None

    @property
    def any(self) -> bool:
        return any((self.who, self.what, self.subject, self.since, self.until))

    def rows(self) -> QuerySet[AuditEvent]:
        """The entries; days are the viewer's, the last one included. Needs the tenant's scope."""
        return events(
            actor=self.who,
            verb=self.what,
            subject=self.subject,
            since=_midnight(self.since) if self.since else None,
            until=_midnight(self.until + timedelta(days=1)) if self.until else None,
        )


@tenant_page("audit.read")
def trail(request: TenantRequest) -> HttpResponse:
    asked = _asked(request.GET)
    with tenant_scope(request.membership.tenant_id):
        page = page_of(asked.rows(), request.GET, key="id", ascending=False, parse=row_id)
        members = [(f"user:{member.email}", member.email) for member in team_queries.members()]
    known = {value for value, _ in [*members, *OTHERS]}
    left = [(asked.who, words.who(asked.who))] if asked.who and asked.who not in known else []
    return render_page(
        request,
        "workflows/audit.html",
        nav="settings",
        page=page,
        rows=[Row(event) for event in page.items],
        asked=asked,
        people=[*members, *left],
        others=OTHERS,
        kinds=words.KINDS,
    )


@tenant_page("audit.read")
def export(request: TenantRequest) -> StreamingHttpResponse:
    """The entries that the page shows, all of them, as CSV."""
    asked = _asked(request.GET)
    lines = _csv(request, asked, timezone.get_current_timezone())
    response = StreamingHttpResponse(lines, content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = 'attachment; filename="audit-trail.csv"'
    return response


def _csv(request: TenantRequest, asked: Asked, zone: object) -> Iterator[bytes]:
    yield b"\xef\xbb\xbf" + _lines([COLUMNS])
    last = None
    while True:
        with tenant_scope(request.membership.tenant_id), timezone.override(zone):  # type: ignore[arg-type]
            rows = asked.rows().order_by("-id")
            chunk = list((rows.filter(pk__lt=last) if last else rows)[:CHUNK])
        if chunk:
            yield _lines([_cells(event) for event in chunk])
        if len(chunk) < CHUNK:
            return
        last = chunk[-1].pk


def _cells(event: AuditEvent) -> tuple[str, ...]:
    values = {name: getattr(event, name) for name in COLUMNS}
    values |= {"at": event.at.isoformat(timespec="milliseconds"), "detail": words.more(event)}
    return tuple(neutral(str(value or "")) for value in values.values())


def _lines(rows: list[tuple[str, ...]]) -> bytes:
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerows(rows)
    return out.getvalue().encode()


def _asked(params: QueryDict) -> Asked:
    text = {name: params.get(name, "").strip()[:200].replace("\0", "") for name in ("who", "what", "subject")}
    return Asked(**text, since=_day(params.get("since", "")), until=_day(params.get("until", "")))


def _day(text: str) -> date | None:
    try:
        found = date.fromisoformat(text)
    except ValueError:
        return None
    return found if 2000 <= found.year <= 9000 else None


def _midnight(day: date) -> datetime:
    return timezone.make_aware(datetime.combine(day, time.min))
