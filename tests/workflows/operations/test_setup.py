"""What accepting reads in one statement is what the queries say one by one."""

import pytest

from integrations.connection_changes import remove_connection
from integrations.queries import usable_connections
from tenants.scope import tenant_scope
from tests.factories import ACTOR, make_connection
from workflows.errors import MissingConnection
from workflows.models import Lane, Workflow
from workflows.operations.setup import find_setup, setup_of

PROVIDERS = ("prospeo", "findymail", "zerobounce", "hunter")


@pytest.mark.parametrize("livemode", [True, False])
def test_the_lanes_are_those_of_the_usable_connections(tenant, livemode):
    made = [
        make_connection(tenant, provider, mode=mode, secret=f"key-{provider}-{mode}-{number}-0123456789")
        for provider in PROVIDERS
        for mode in ("sandbox", "live")
        for number in range(2)
    ]
    with tenant_scope(tenant):
        for connection in made[1::3]:
            remove_connection(connection_id=connection.pk, actor=ACTOR)
        usable = usable_connections(PROVIDERS, livemode=livemode)
        lanes = dict(Lane.objects.values_list("connection_id", "id"))
        setup = find_setup("email-waterfall")
        assert setup.lanes_for(usable, livemode=livemode) == {
            provider: str(lanes[connection.pk]) for provider, connection in usable.items()
        }
        for provider in set(PROVIDERS) - set(usable):
            with pytest.raises(MissingConnection):
                setup.lanes_for([provider], livemode=livemode)
        assert len(usable) > 1


def test_the_workflow_is_read_whole_and_stays_as_its_reader_had_it(tenant):
    with tenant_scope(tenant):
        workflow = Workflow.objects.get(slug="email-waterfall")
        found = find_setup(str(workflow.pk)).workflow
        for field in Workflow._meta.concrete_fields:
            assert getattr(found, field.attname) == getattr(workflow, field.attname), field.name
        assert find_setup("email-waterfall").workflow == workflow
        workflow.name = "Changed by hand"
        assert setup_of(workflow).workflow.name == "Changed by hand"
