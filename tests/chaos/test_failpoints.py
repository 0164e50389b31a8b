"""T6: a process that ends at any named point around commit, call and acknowledgement leaves nothing lost or doubled."""

import io

import pytest

from tenants import failpoints
from tenants.models import Tenant
from tenants.scope import tenant_scope
from tests.chaos.campaign import Books, Field, contacts, hold, show, until
from tests.chaos.crew import Crew
from tests.factories import ACTOR
from workflows.models import Run
from workflows.operations.accept_run import accept_upload, find_workflow
from workflows.operations.create_upload import create_upload

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(120)]

ACCEPT = ("accept.written", "ring.due", "ring.sent")
FILL = ("fill.written", "fill.committed")
_PAIRED = ("call.answered", "lost.found")  # the second is reached only where somebody died before
# Those of the sender of webhooks are walked in test_webhooks.py.
_LANES = tuple(point for point in failpoints.POINTS if not point.startswith("webhook."))
WORKER = (*_PAIRED, *(point for point in _LANES if point not in {*ACCEPT, *FILL, *_PAIRED}))


def test_a_point_that_is_not_listed_cannot_be_named() -> None:
    with pytest.raises(ValueError, match="no such failpoint"):
        failpoints.arm("nowhere")


def test_a_worker_may_end_at_any_point(field: Field, crew: Crew, books: Books) -> None:
    """Two crashes in a row, then a worker that lives: a step is given up only after the third."""
    tenant, in_hand = field.tenant(), 0
    for first in range(0, len(WORKER), 2):
        for point in WORKER[first : first + 2]:
            field.run(tenant, contacts(5, tag=point.replace(".", "")))
            doomed = crew.start(failpoint=point, celery=point.startswith("ring"))
            assert crew.wait_for_end(doomed, seconds=20) == failpoints.CODE, point
            in_hand += len(books.stamped(doomed.holder))
        survivor = crew.start()
        until(lambda: books.left() == 0, seconds=30, what=f"all records end after {point}")
        crew.kill(survivor)
    found = field.compare()
    show(
        "T6: every point of a worker",
        {"points": len(WORKER), "in doubt": found.in_doubt, "repeated": found.repeated},
    )
    hold(found, bound=in_hand)


def test_what_accepts_a_run_may_end_at_any_point(field: Field, crew: Crew, books: Books) -> None:
    """Before the commit there is no run, and whoever asked has no answer; after it nothing of the run is lost."""
    tenant = field.tenant()
    for number, point in enumerate(ACCEPT):
        doomed = crew.accept(tenant.pk, contacts(6, tag=f"Accept{number}"), failpoint=point)
        assert crew.wait_for_end(doomed) == failpoints.CODE, point
        field.accepted += 0 if point == "accept.written" else 6
    crew.start()
    until(lambda: books.left() == 0, seconds=20, what="all records end")
    hold(field.compare(), bound=0)


def _upload(tenant: Tenant, rows: int, tag: str) -> Run:
    lines = [f"Up{number},Smith,{tag}{number}.example" for number in range(rows)]
    content = "\n".join(["first_name,last_name,domain", *lines]).encode()
    with tenant_scope(tenant):
        upload = create_upload(file=io.BytesIO(content), filename="rows.csv", size=len(content), actor=ACTOR)
        return accept_upload(
            workflow=find_workflow("email-waterfall"), upload=upload, actor=ACTOR, source="csv", livemode=True
        )


def test_what_fills_a_run_may_end_at_any_point(field: Field, crew: Crew, books: Books) -> None:
    tenant = field.tenant()
    for point in FILL:
        run = _upload(tenant, 130, point.replace(".", ""))
        field.accepted += 130
        for _ in range(2):
            assert crew.wait_for_end(crew.fill(tenant.pk, run.pk, failpoint=point)) in (failpoints.CODE, 0), (
                point
            )
        crew.wait_for_end(crew.fill(tenant.pk, run.pk))
    crew.start()
    until(lambda: books.left() == 0, seconds=20, what="all records end")
    hold(field.compare(), bound=0)
