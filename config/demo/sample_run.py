"""The sample run: the contacts of contacts.csv through the email waterfall, with progress and a summary."""

import time
import uuid
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db.models import Q
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from config.demo.setup import ACTOR, LIMITS, Demo, tell_sandbox, tenant_id, vendor_key
from integrations.connectors import registry
from tenants.scope import tenant_scope
from workflows.models import Run, RunVendor
from workflows.operations.accept_run import accept_upload, find_workflow
from workflows.operations.create_upload import create_upload
from workflows.states import RunStatus

CONTACTS = Path(__file__).parent / "contacts.csv"
GIVE_UP_S = 300.0
LOOK_EVERY_S = 0.25


def sample_run(demo: Demo, console: Console) -> bool:
    """Run the sample contacts and print what came of it; True when every record reached a final state."""
    if _others_under_way(demo):
        console.print("Earlier runs of the demo tenant go on beside the sample run.")
    _sign_in_details(demo, console)
    calls_before = _sandbox_calls()
    run = _start(demo)
    console.print(f"Sample run started: {settings.BASE_URL}/app/runs/{run.pk}", soft_wrap=True)
    run = _watch(demo, run.pk, console)
    _summarise(demo, run, calls_before, console)
    return run.status == RunStatus.COMPLETED and run.pending == 0


def _others_under_way(demo: Demo, run: Run | None = None) -> bool:
    """Whether other runs of the demo tenant use its keys: now, or while this run went on."""
    with tenant_scope(tenant_id(demo)):
        if run is None:
            return Run.objects.filter(finished_at=None).exists()
        others = Run.objects.exclude(pk=run.pk)
        return others.filter(Q(finished_at=None) | Q(finished_at__gt=run.created_at)).exists()


def _start(demo: Demo) -> Run:
    with tenant_scope(tenant_id(demo)), CONTACTS.open("rb") as stream:
        upload = create_upload(
            file=stream, filename="sample contacts.csv", size=CONTACTS.stat().st_size, actor=ACTOR
        )
        return accept_upload(
            workflow=find_workflow("email-waterfall"),
            upload=upload,
            actor=ACTOR,
            source=Run.Source.DEMO,
            livemode=True,
            name="Sample contacts",
        )


def _watch(demo: Demo, run_id: uuid.UUID, console: Console) -> Run:
    deadline = time.monotonic() + GIVE_UP_S
    with Progress(
        TextColumn("[bold]Finding e-mail addresses"),
        BarColumn(bar_width=32),
        TextColumn("{task.completed:.0f} of {task.total:.0f}  [dim]{task.fields[state]}"),
        TimeElapsedColumn(),
        console=console,
        refresh_per_second=8,
    ) as progress:
        task = progress.add_task("run", total=1, state="")
        while True:
            with tenant_scope(tenant_id(demo)):
                run = Run.objects.get(pk=run_id)
            state = f"{run.found} found, {run.not_found} not found"
            progress.update(task, total=run.total, completed=run.finished_records, state=state)
            if run.is_final or time.monotonic() > deadline:
                return run
            time.sleep(LOOK_EVERY_S)


def _summarise(demo: Demo, run: Run, before: dict[str, dict[str, Any]], console: Console) -> None:
    """Print the counts beside the sandbox's own record."""
    with tenant_scope(tenant_id(demo)):
        vendors = list(RunVendor.objects.filter(run=run))
    after = _sandbox_calls()
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("Vendor", no_wrap=True)
    # The last two are the vendors' own record: how often they were asked, and how often beyond what a key allows.
    for heading in ("Calls", "Hits", "Misses", "Reused", "Used", "Credits", "Theirs", "Over"):
        table.add_column(heading, justify="right", no_wrap=True)
    agrees = True
    for vendor in vendors:
        theirs = {
            key: after[vendor.provider][key] - before[vendor.provider][key] for key in after[vendor.provider]
        }
        agrees = agrees and theirs["calls"] == vendor.calls and not theirs["over_limit"]
        table.add_row(
            registry.get(vendor.provider).title,
            *(f"{n:,}" for n in (vendor.calls, vendor.hits, vendor.misses, vendor.cached, vendor.accepted)),
            f"{vendor.credits / 1000:,.1f}",
            f"{theirs['calls']:,}",
            f"{theirs['over_limit']:,}",
        )
    console.print(f"\n[bold]{run.found} of {run.total} found in {_seconds(run):.0f} s")
    console.print(table)
    counts = ", ".join(
        f"{getattr(run, name):,} {name.replace('_', ' ')}" for name in ("found", "not_found", "failed")
    )
    console.print(f"{run.status.capitalize()}: {counts}; {run.credits_spent / 1000:,.1f} vendor credits.")
    if agrees:
        console.print("The vendors' own record agrees: the same number of calls, none over a limit.")
    elif _others_under_way(demo, run):
        console.print(
            "Other runs used the same keys meanwhile, so the vendors counted more than the sample run's."
        )
    else:
        console.print("[bold red]Weir's counts and the vendors' own do not agree.")


def _sandbox_calls() -> dict[str, dict[str, Any]]:
    """Per vendor, what the sandbox has counted for the demo's keys so far."""
    result = {}
    for provider in LIMITS:
        summary = tell_sandbox("GET", f"summary?provider={provider}&key={vendor_key(provider)}")
        counted = summary.get(provider, {})
        result[provider] = {key: counted.get(key, 0) for key in ("calls", "over_limit", "rate_limited")}
    return result


def _sign_in_details(demo: Demo, console: Console) -> None:
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_row("Open", f"[bold]{settings.BASE_URL}/app/")
    table.add_row("E-mail", demo.email)
    table.add_row("Password", demo.password)
    table.add_row("API key", demo.api_key)
    table.add_row("Operations", f"{settings.BASE_URL}/admin/  ({demo.staff_email}, same password)")
    console.print(table)


def _seconds(run: Run) -> float:
    if run.started_at is None or run.finished_at is None:
        return 0.0
    return (run.finished_at - run.started_at).total_seconds()
