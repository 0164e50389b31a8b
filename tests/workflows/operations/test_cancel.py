"""What a cancelled run keeps: what its records have cost until then."""

from typing import Any

from tenants.models import Tenant
from tenants.scope import tenant_scope
from tests.factories import ACTOR
from tests.workflows.lanes.helpers import again, people, start
from tests.workflows.lanes.test_recovery import Hand
from workflows.models import Record
from workflows.operations.control_run import cancel_run


def test_a_record_that_is_cancelled_between_two_steps_says_what_it_has_cost(
    tenant: Tenant, committed: None, connect: Any
) -> None:
    for provider in ("prospeo", "findymail", "zerobounce"):
        connect(provider, mode="sandbox")
    run = start(tenant, people(2))
    hand = Hand(tenant)
    asked, waiting = hand.claim()
    hand.stamp([asked])
    hand.settle([hand.answer(asked)])
    with tenant_scope(tenant):
        cancel_run(run_id=run.pk, actor=ACTOR)
        paid = dict(Record.objects.values_list("pk", "credits"))
    assert paid == {asked.record_id: 1_000, waiting.record_id: 0}
    assert (again(run).credits_spent, again(run).cancelled) == (1_000, 2)
