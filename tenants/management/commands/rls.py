"""Show every table with its class, policies, grants and verdict: what the database holds against what the models say.

Reads the catalogue alone, which every login may, so it runs as whatever login the process has. Exits with 1 when
anything differs; `manage.py migrate` mends policies, grants and lookup functions.
"""

import json
import sys
from collections import Counter
from dataclasses import replace
from typing import IO, Any, cast

import psycopg
from django.core.management.base import BaseCommand, CommandParser
from django.db import connection
from rich.console import Console
from rich.table import Table

from tenants.catalogue import FoundPolicy
from tenants.logins import LoginTooPowerful
from tenants.roles import APP, BACKUP, LOOKUP, OPS, OWNER, READONLY
from tenants.verdicts import Report, Verdict, report

_SHORT = {APP: "app", OPS: "ops", OWNER: "owner", READONLY: "readonly", BACKUP: "backup", LOOKUP: "lookup"}
_LETTERS = {"SELECT": "r", "INSERT": "a", "UPDATE": "w", "DELETE": "d"}


class Command(BaseCommand):
    help = __doc__

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
        parser.add_argument("--faults", action="store_true", help="leave out what is as it should be")

    def handle(self, *args: Any, **options: Any) -> None:
        found = judged()
        if options["json"]:
            self.stdout.write(json.dumps(as_json(found)))
        else:
            console = Console(file=cast(IO[str], self.stdout), width=None if sys.stdout.isatty() else 160)
            show(console, found, faults_only=options["faults"])
        if found.faults:
            sys.exit(1)


def judged() -> Report:
    """The report, also to a login that Weir refuses otherwise: that is when it is wanted. Its power is a fault."""
    try:
        with connection.cursor() as cursor:
            return report(cursor)
    except LoginTooPowerful as error:
        with psycopg.connect(**connection.get_connection_params()) as plain, plain.cursor() as cursor:
            found = report(cursor)
        return replace(found, beside=[error.detail, *found.beside])


def as_json(found: Report) -> dict[str, Any]:
    """The report as plain values: `ok`, `tables` and `beside` (faults of what is no table)."""
    tables = [
        {
            "table": verdict.table,
            "class": verdict.kind,
            "forced": bool(verdict.found and verdict.found.enabled and verdict.found.forced),
            "policies": [policy.name for policy in verdict.found.policies] if verdict.found else [],
            "grants": _grants(verdict),
            "faults": verdict.faults,
        }
        for verdict in found.tables
    ]
    return {"ok": not found.faults, "tables": tables, "beside": found.beside}


def show(console: Console, found: Report, *, faults_only: bool) -> None:
    """The report as a table, then the faults a line each, then the verdict."""
    table = Table(title="Row-level security", title_justify="left", caption=_LEGEND, caption_justify="left")
    for heading in ("table", "class", "forced", "policies", "grants", "verdict"):
        table.add_column(heading, overflow="fold")
    # Many, and all alike: counted when they are as they should be.
    counted = Counter(verdict.kind for verdict in found.tables if _counted(verdict))
    for verdict in found.tables:
        if not _counted(verdict) and (verdict.faults or not faults_only):
            table.add_row(*_row(verdict))
    if table.row_count:
        console.print(table)
    for fault in found.faults:
        console.print(f"[red]✗[/red] {fault}", soft_wrap=True, highlight=False)
    faults = f"[red]{len(found.faults)} faults[/red]" if found.faults else "[green]no fault[/green]"
    beside = "".join(f", {count} {kind}s for dumps alone" for kind, count in sorted(counted.items()))
    console.print(f"{len(found.tables) - counted.total()} tables{beside}: {faults}", highlight=False)


_LEGEND = "r read, a add, w change, d delete; in brackets: some columns alone. Policies: login=rows."


def _counted(verdict: Verdict) -> bool:
    return verdict.kind in ("sequence", "partition") and not verdict.faults


def _row(verdict: Verdict) -> tuple[str, ...]:
    there = verdict.found
    if there is None:
        return verdict.table, verdict.kind, "", "", "", "[red]missing[/red]"
    forced = "yes" if there.enabled and there.forced else "[yellow]half[/yellow]" if there.enabled else "–"
    policies = " ".join(_rows_of(policy) for policy in there.policies)
    grants = " ".join(f"{_SHORT.get(role, role)}={verbs}" for role, verbs in _grants(verdict).items())
    judged = f"[red]{len(verdict.faults)} wrong[/red]" if verdict.faults else "[green]ok[/green]"
    return verdict.table, verdict.kind or "[red]none[/red]", forced, policies, grants, judged


def _rows_of(policy: FoundPolicy) -> str:
    """`app=own`, `ops=all`: whom a policy is for, and which rows it lets through."""
    roles = ",".join(_SHORT.get(role, role) for role in policy.roles)
    return f"{roles}={'all' if policy.using == 'true' else 'own'}"


def _grants(verdict: Verdict) -> dict[str, str]:
    """By login, one letter a verb: `r` read, `a` add, `w` change, `d` delete; anything else in full."""
    grants = verdict.found.grants if verdict.found else {}
    return {role: _letters(verbs) for role, verbs in sorted(grants.items())}


def _letters(verbs: frozenset[str]) -> str:
    whole = "".join(letter for verb, letter in _LETTERS.items() if verb in verbs)
    columns = sorted(verb for verb in verbs if verb.startswith("SELECT ("))
    rest = sorted(verbs - _LETTERS.keys() - set(columns))
    return "+".join(part for part in (whole, "(r)" if columns else "", *rest) if part)
