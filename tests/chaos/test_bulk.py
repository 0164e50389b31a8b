"""A worker that ends while one of its calls asks for several: each step is in doubt, none is lost, the books agree."""

import pytest

from tenants import failpoints
from tenants.scope import tenant_scope
from tests.chaos.campaign import Books, Field, contacts, hold, show, until
from tests.chaos.crew import Crew
from tests.factories import ACTOR
from workflows.models import Lane
from workflows.operations.control_lane import ask_together

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(120)]

POINTS = ("call.sending", "call.answering", "call.answered", "settle.written", "settle.committed")


def test_a_worker_may_end_around_a_call_for_several(field: Field, crew: Crew, books: Books) -> None:
    tenant = field.tenant(parallelism=1, on_ambiguous="repeat")
    with tenant_scope(tenant):
        for lane in Lane.objects.exclude(provider="findymail"):
            ask_together(lane_id=lane.pk, on=True, actor=ACTOR)
    in_hand = 0
    for point in POINTS:
        field.run(tenant, contacts(30, tag=point.replace(".", "")))
        doomed = crew.start(failpoint=point)
        assert crew.wait_for_end(doomed, seconds=20) == failpoints.CODE, point
        in_hand += len(books.stamped(doomed.holder))
        survivor = crew.start()
        until(lambda: books.left() == 0, seconds=30, what=f"all records end after {point}")
        crew.kill(survivor)
    found = field.compare()
    together = sum(1 for call in field.sandbox.calls() if call["bulk"])
    show(
        "Calls for several",
        {"asked together": together, "in doubt": found.in_doubt, "repeated": found.repeated},
    )
    assert together > 30
    assert found.in_doubt > len(POINTS)
    hold(found, bound=in_hand)
