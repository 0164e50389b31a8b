"""The tenant's keys for vendors, their lanes, and what they wait for."""

import secrets
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from integrations.connection_changes import find_connection
from integrations.connectors import registry
from integrations.models import Connection
from integrations.operations import create_connection, replace_connection_secret
from integrations.queries import connections as connections_of_tenant
from tenants.errors import InvalidInput, NotFound, WeirError
from tenants.scope import tenant_scope
from tenants.secret import Secret
from tenants.web.access import TenantRequest, actor, allows, tenant_page
from workflows import queries
from workflows.models import Lane
from workflows.operations.control_lane import ask_together, pause_lane, resume_lane
from workflows.queries import LaneView
from workflows.web import describe
from workflows.web.forms import ConnectForm, ConnectionForm, NewKeyForm
from workflows.web.frame import render_live, render_page, version_of

# What the default workflows ask; the sandbox takes any key.
SANDBOX_SET = ("prospeo", "findymail", "zerobounce")


_NEEDS = {
    "auth_failed": "is refused by the vendor. Enter another key, and its records go on.",
    "no_credits": "has no credits left. Buy some at the vendor, and its records go on.",
    "paused": "was paused by somebody. Resume it when you want its records to go on.",
}


_CONTROLS: dict[str, tuple[Callable[..., Lane], str]] = {
    "pause": (pause_lane, "is paused: calls in flight end, no new ones start"),
    "resume": (resume_lane, "goes on"),
    "together": (partial(ask_together, on=True), "asks several contacts in one call where that helps"),
    "alone": (partial(ask_together, on=False), "asks one contact in each call"),
}


@dataclass(frozen=True, slots=True)
class VendorView:
    """A connection with its lane, as the page shows them."""

    connection: Connection
    lane: LaneView | None

    @property
    def title(self) -> str:
        return describe.vendor_title(self.connection.provider)

    @property
    def most_together(self) -> int:
        """How many contacts one call may ask about; 0 where the vendor has no endpoint for several."""
        bulk = registry.get(self.connection.provider).bulk.values()
        return max((endpoint.most for endpoint in bulk), default=0)

    @property
    def limits(self) -> str:
        shown = self.lane or self.connection
        return describe.limits(shown.windows, shown.parallelism)

    @property
    def state(self) -> str:
        """The connection's own status, else a pause that a person made, else the breaker's (open, half_open), else ok."""
        if self.connection.status != Connection.Status.OK:
            return self.connection.status
        if self.lane and self.lane.paused:
            return "paused"
        return self.lane.breaker if self.lane and self.lane.breaker != "closed" else "ok"

    @property
    def needs_a_person(self) -> bool:
        """Whether it stands still until somebody does something; a lane at rest goes on by itself."""
        return self.state not in ("ok", "open", "half_open")

    @property
    def needs(self) -> str:
        """One sentence on what is wrong and what to do; empty where nothing is."""
        words = _NEEDS.get(self.state, "needs your attention.") if self.needs_a_person else ""
        return f"{self.title} …{self.connection.secret_hint} {words}" if words else ""

    @property
    def rests(self) -> str:
        """What a lane at rest does; empty for every other."""
        if self.state == "half_open":
            return "The vendor failed several times in a row. One call at a time tests whether it is back."
        return "The vendor failed several times in a row. Calls rest" if self.state == "open" else ""

    @property
    def waiting(self) -> str:
        """“34 waiting for ZeroBounce's rate”, or nothing."""
        if not self.lane or not self.lane.waiting:
            return ""
        words = f"{self.lane.waiting:,} waiting"
        if self.lane.wait_reason:
            words += f" for {describe.wait_words(self.lane.wait_reason, self.connection.provider)}"
        return words

    @property
    def shown(self) -> tuple[object, ...]:
        """What the page shows of it, and may change without anybody's doing."""
        lane = self.lane and (
            self.lane.waiting,
            self.lane.in_flight,
            self.lane.wait_reason,
            self.lane.paused,
            self.lane.breaker_until,
            self.lane.bulk,
        )
        told = (self.connection.balance, self.connection.low_balance_told_at)
        return (self.connection.pk, self.state, told, lane, self.limits)

    @property
    def why(self) -> str:
        waits = self.lane and self.lane.waiting and self.lane.wait_reason
        return describe.wait_explained(self.lane.wait_reason or "") if waits and self.lane else ""


def read_vendors(request: TenantRequest) -> list[VendorView]:
    """The tenant's connections with their lanes."""
    with tenant_scope(request.membership.tenant_id):
        connections = list(connections_of_tenant())
        lanes = {lane.connection_id: lane for lane in queries.lane_views()}
    return [VendorView(connection, lanes.get(connection.pk)) for connection in connections]


@tenant_page("connections.read")
def vendor_list(request: TenantRequest) -> HttpResponse:
    """The page of the vendors, or its live part alone where the page asks for it again."""
    vendors = read_vendors(request)
    connected = {view.connection.provider for view in vendors}
    context: dict[str, Any] = {
        "vendors": vendors,
        "others": [c for c in registry.offered() if c.provider not in connected],
        "may_connect": allows(request, "connections.change"),
        "low": [
            view for view in vendors if view.connection.low_balance_told_at and view.state != "no_credits"
        ],
        "unwell": [view for view in vendors if view.needs_a_person],
        "version": version_of([view.shown for view in vendors]),
    }
    if request.htmx:
        return render_live(request, "workflows/_vendors.html", **context)
    return render_page(request, "workflows/vendors.html", nav="vendors", **context)


@tenant_page("connections.change")
def connect(request: TenantRequest) -> HttpResponse:
    if request.method != "POST":
        wanted = request.GET.get("provider", "")
        return _connect_page(request, ConnectForm(initial={"provider": wanted, "currency": "USD"}))
    form = ConnectForm(request.POST)
    if form.is_valid():
        try:
            with tenant_scope(request.membership.tenant_id):
                connection = create_connection(actor=actor(request), **form.options())
        except WeirError as error:
            explain(form, error)
        else:
            title = describe.vendor_title(connection.provider)
            messages.success(
                request, f"{title} is connected with the key ending in {connection.secret_hint}."
            )
            return redirect("vendors")
    return _connect_page(request, form, status=422)


@tenant_page("connections.change")
def enter_key(request: TenantRequest, connection_id: uuid.UUID) -> HttpResponse:
    """Give a connection another key; its limits, price and waiting work stay."""
    with tenant_scope(request.membership.tenant_id):
        connection = find_connection(connection_id)
    form = NewKeyForm(request.POST if request.method == "POST" else None)
    if form.is_valid():
        try:
            with tenant_scope(request.membership.tenant_id):
                connection = replace_connection_secret(
                    connection_id=connection_id, secret=form.cleaned_data["secret"], actor=actor(request)
                )
        except WeirError as error:
            explain(form, error)
        else:
            title = describe.vendor_title(connection.provider)
            messages.success(
                request, f"{title} is asked with the key ending in {connection.secret_hint} now."
            )
            return redirect("vendors")
    context = {"form": form, "vendor": VendorView(connection, None)}
    status = 422 if form.errors else 200
    return render_page(request, "workflows/enter_key.html", nav="vendors", status=status, **context)


@require_POST
@tenant_page("connections.change")
def connect_sandbox(request: TenantRequest) -> HttpResponse:
    """Connect what is missing of the default workflow's vendors in sandbox mode, to look around without paying."""
    with tenant_scope(request.membership.tenant_id):
        known = set(connections_of_tenant().values_list("provider", flat=True))
        for provider in SANDBOX_SET:
            if provider not in known:
                create_connection(
                    provider=provider,
                    secret=Secret(f"sandbox-{provider}-{secrets.token_hex(4)}"),
                    mode=Connection.Mode.SANDBOX,
                    actor=actor(request),
                )
    messages.success(
        request, "The sandbox vendors are connected. Their answers are made up and cost nothing."
    )
    return redirect("home")


@require_POST
@tenant_page("lanes.steer")
def control(request: TenantRequest, lane_id: uuid.UUID, verb: str) -> HttpResponse:
    if verb not in _CONTROLS:
        raise NotFound("There is no such control of a lane.")
    operation, done = _CONTROLS[verb]
    with tenant_scope(request.membership.tenant_id):
        lane = operation(lane_id=lane_id, actor=actor(request))
    title = describe.vendor_title(lane.provider)
    messages.success(request, f"The lane of {title} …{lane.key_hint} {done}.")
    return redirect("vendors")


def _connect_page(request: TenantRequest, form: ConnectForm, *, status: int = 200) -> HttpResponse:
    defaults = {
        c.provider: describe.limits([vars_of(window) for window in c.windows], c.parallelism)
        for c in registry.offered()
    }
    return render_page(
        request,
        "workflows/connect.html",
        nav="vendors",
        status=status,
        form=form,
        defaults=[(registry.get(provider).title, words) for provider, words in sorted(defaults.items())],
    )


def vars_of(window: object) -> dict[str, object]:
    return {name: getattr(window, name) for name in ("rate", "period", "group")}


def explain(form: ConnectForm | ConnectionForm | NewKeyForm, error: WeirError) -> None:
    """Put an operation's refusal beside the field that it names, else above the form."""
    named = (
        [e for e in error.errors if e.get("field") in form.fields] if isinstance(error, InvalidInput) else []
    )
    for entry in named:
        form.add_error(entry["field"], error.detail)
    if not named:
        form.add_error("secret" if error.code == "conflict" else None, error.detail)
