"""What the campaigns share: tenants with their vendors, runs, waiting, and the table of figures that each one prints."""

import os
import random
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import psycopg
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from tenants.models import Tenant
from tests.chaos.ledger import Comparison, compare
from tests.environment import with_database
from tests.factories import ACTOR, make_connection, make_tenant
from tests.sandbox import Sandbox
from workflows.models import Run

PROVIDERS = ("prospeo", "findymail", "zerobounce")


def admin_url() -> str:
    """The database of this test process, for a login that sees every row."""
    name = os.environ["DATABASE_URL"].rsplit("/", 1)[1]
    return with_database(os.environ["DATABASE_ADMIN_URL"], name)


def contacts(count: int, *, tag: str = "Person", last: str = "Smith") -> list[dict[str, str]]:
    """Contacts that differ; the sandbox knows some of them."""
    return [
        {"first_name": f"{tag}{number}", "last_name": last, "domain": f"{tag}{number}.example".lower()}
        for number in range(count)
    ]


@dataclass
class Field:
    """Tenants whose runs are under way, and the vendors that they ask."""

    sandbox: Sandbox
    tenants: list[Tenant] = field(default_factory=list)
    accepted: int = 0

    def tenant(self, name: str = "", *, parallelism: int = 8, windows: Any = None, **options: Any) -> Tenant:
        """A tenant with its three vendors, the sandbox enforcing the limits that Weir is told."""
        tenant = make_tenant(name).tenant
        for provider in PROVIDERS:
            limits = {"windows": windows or [], "parallelism": parallelism}
            make_connection(
                tenant, provider, secret=self.key(tenant, provider), mode="sandbox", **limits, **options
            )
            enforced = windows or [{"rate": 100_000, "period": 1}]
            self.sandbox.set_key(
                provider, self.key(tenant, provider), windows=enforced, parallelism=parallelism
            )
        self.tenants.append(tenant)
        return tenant

    def key(self, tenant: Tenant, provider: str) -> str:
        return f"{provider}-{tenant.pk}"

    def run(self, tenant: Tenant, records: list[dict[str, str]], **options: Any) -> Run:
        from tenants.scope import tenant_scope
        from workflows.operations.accept_run import accept_run, find_workflow

        self.accepted += len(records)
        with tenant_scope(tenant):
            return accept_run(
                workflow=find_workflow("email-waterfall"), records=records, actor=ACTOR, source="api",
                livemode=True, **options,
            )  # fmt: skip

    def compare(self) -> Comparison:
        return compare(
            admin_url(), [tenant.pk for tenant in self.tenants], self.sandbox.calls(), expected=self.accepted
        )


class Books:
    """What the database says right now, seen past all policies."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: psycopg.Connection | None = None

    def rows(self, statement: str, parameters: Any = ()) -> list[tuple[Any, ...]]:
        """Raises psycopg.OperationalError while the database is away."""
        try:
            if self._connection is None or self._connection.closed:
                self._connection = psycopg.connect(self._url, autocommit=True, connect_timeout=5)
            return self._connection.execute(statement, parameters).fetchall()
        except psycopg.OperationalError:
            self.close()
            raise

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def left(self) -> int:
        """Records that have not ended, rows of uploads that are no records yet included."""
        return int(self.rows("SELECT coalesce(sum(pending), 0) FROM run WHERE finished_at IS NULL")[0][0])

    def stamped(self, holder: str | uuid.UUID | None) -> list[uuid.UUID]:
        """The steps that this holder has stamped and not settled."""
        found = self.rows("SELECT id FROM step_queue WHERE holder = %s AND sent_at IS NOT NULL", (holder,))
        return [row[0] for row in found]

    def holders(self) -> set[str]:
        """Whoever has stamped a step that is not settled."""
        found = self.rows("SELECT DISTINCT holder FROM step_queue WHERE sent_at IS NOT NULL")
        return {str(row[0]) for row in found}


def until(condition: Callable[[], Any], *, seconds: float, what: str, step: float = 0.05) -> Any:
    """The condition's value once it is true; fails when that takes longer."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(step)
    return value


def moments(chance: random.Random, count: int, *, least: float, most: float) -> Iterator[float]:
    """Pauses in seconds, from a seeded source."""
    for _ in range(count):
        yield chance.uniform(least, most)


def show(title: str, figures: Mapping[str, Any]) -> None:
    """Print a campaign's figures as a table; `pytest -s` or a failing test shows it, and so does `make chaos`."""
    table = Table(box=SIMPLE_HEAD, title=title, title_justify="left", title_style="bold")
    table.add_column("Figure")
    table.add_column("Measured", justify="right")
    for name, value in figures.items():
        shown = (
            f"{value:,.1f}"
            if isinstance(value, float)
            else f"{value:,}"
            if isinstance(value, int)
            else str(value)
        )
        table.add_row(name.replace("_", " "), shown)
    Console(width=100).print(table)


def hold(
    found: Comparison, *, bound: int | None = None, never_made: int | None = None, failed: int = 0
) -> None:
    """The promises that hold after any campaign. `bound`: how many calls may have been repeated, by what was seen while
    it went on: the steps that were stamped when a worker ended. No more than these were said to be in doubt and never made
    (or `never_made`, where that is less)."""
    assert found.faults == []
    assert (found.lost, found.billed_twice, found.over_limit) == (0, 0, 0)
    assert found.failed <= failed
    if bound is not None:
        assert found.repeated <= bound
        assert found.never_made <= (bound if never_made is None else never_made)
