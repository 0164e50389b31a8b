"""What accepting reads in one statement is what the queries say one by one."""

import pytest
from django.db import connections

from integrations.connection_changes import remove_connection
from integrations.queries import usable_connections
from tenants.models import Tenant
from tenants.scope import APP_ALIAS, tenant_scope
from tests.bouncer import Bouncer
from tests.factories import ACTOR, make_connection, make_tenant
from workflows.errors import MissingConnection, UnknownWorkflow
from workflows.models import Lane, Workflow
from workflows.operations.setup import Setup, find_setup, scope_for, setup_of

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


def asked(tenant: Tenant, ref: str) -> tuple[str | None, Setup]:
    """What the scope's own message was answered, and what is found with it."""
    with (scope := scope_for(tenant.pk, ref)):
        return scope.answer, find_setup(ref, scope.answer)


def told(tenant: Tenant, ref: str) -> Setup:
    with tenant_scope(tenant):
        return find_setup(ref)


def same(one: Setup, other: Setup) -> bool:
    values = [{field.attname: setup.workflow.__dict__.get(field.attname) for field in Workflow._meta.concrete_fields}
              for setup in (one, other)]  # fmt: skip
    return (
        values[0] == values[1]
        and one.lanes == other.lanes
        and one.covers_subdomains == other.covers_subdomains
    )


def test_what_the_scopes_own_message_is_answered_is_what_is_found(committed):
    tenant = make_tenant().tenant
    make_tenant("Beta")
    for provider in PROVIDERS:
        make_connection(tenant, provider, mode="sandbox")
    with tenant_scope(tenant):
        workflow_id = Workflow.objects.get(slug="email-waterfall").pk
    for ref in ("email-waterfall", str(workflow_id), str(workflow_id).upper(), workflow_id.hex):
        answer, setup = asked(tenant, ref)
        assert answer is not None
        assert setup.lanes
        assert same(setup, told(tenant, ref))


@pytest.mark.parametrize(
    "ref", ["none-such", "00000000-0000-0000-0000-000000000000", "a'b", "a\\", "ü" * 8, "x" * 99, "", "\0"]
)
def test_a_workflow_that_is_not_there_is_named_however_it_was_asked_for(committed, ref):
    tenant = make_tenant().tenant
    with pytest.raises(UnknownWorkflow) as said:
        told(tenant, ref)
    with pytest.raises(UnknownWorkflow) as answered:
        asked(tenant, ref)
    assert str(said.value) == str(answered.value)


def test_past_a_pooler_it_is_found_by_a_statement_of_its_own(committed, monkeypatch):
    tenant = make_tenant().tenant
    bouncer = Bouncer()
    try:
        with monkeypatch.context() as patch:
            connections[APP_ALIAS].close()
            for name, value in bouncer.settings.items():
                patch.setitem(connections[APP_ALIAS].settings_dict, name, value)
            answer, setup = asked(tenant, "email-waterfall")
            connections[APP_ALIAS].close()
    finally:
        bouncer.stop()
    assert answer is None
    assert same(setup, told(tenant, "email-waterfall"))
