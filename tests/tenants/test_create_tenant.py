"""The command that operators make tenants with."""

import io
import json
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from tenants.models import AuditEvent, ClosedTenant, TenantExport, User
from tenants.operations import people
from tenants.operations.people import create_user
from tenants.queries import tenants_of
from tenants.scope import tenant_scope
from workflows.models import Run, RunEvent, Upload

pytestmark = pytest.mark.usefixtures("db")


def create(**options: Any) -> dict[str, Any]:
    out = io.StringIO()
    call_command("create_tenant", json=True, stdout=out, **{"name": "Acme", "plan": "pro", **options})
    result: dict[str, Any] = json.loads(out.getvalue())
    return result


def test_a_new_person_gets_a_password_and_owns_the_tenant():
    made = create(email="New@acme.example")
    user = User.objects.get(email="new@acme.example")
    assert user.check_password(made["password"])
    assert [(str(t.tenant_id), t.role, t.is_owner) for t in tenants_of(user.pk)] == [
        (made["tenant_id"], "admin", True)
    ]


def test_a_known_person_keeps_their_password_and_gets_a_second_tenant():
    first = create(email="a@acme.example")
    second = create(email="a@acme.example", name="Globex")
    assert second["password"] is None
    user = User.objects.get(email="a@acme.example")
    assert user.check_password(first["password"])
    assert {t.tenant_name for t in tenants_of(user.pk)} == {"Acme", "Globex"}


def test_a_password_for_a_known_person_is_refused():
    create(email="a@acme.example")
    with pytest.raises(CommandError, match="leave --password out"):
        create(email="a@acme.example", name="Globex", password="another password")
    assert len(tenants_of(User.objects.get(email="a@acme.example").pk)) == 1


def test_a_bad_name_leaves_no_account_behind():
    with pytest.raises(CommandError, match="1 to 120"):
        create(email="a@acme.example", name=" ")
    assert not User.objects.filter(email="a@acme.example").exists()


def test_the_longest_address_can_act():
    domain = ".".join(["a" * 60] * 3) + ".example"
    actor = f"user:{'q' * (253 - len(domain))}@{domain}"
    assert len(actor) == 259
    owner = create_user(email=actor.removeprefix("user:"), password=None)
    tenant = people.start_tenant(name="Acme", owner=owner, actor=actor)
    with tenant_scope(tenant.pk):
        assert AuditEvent.objects.get(verb="tenant.created").actor == actor
    places = ((Run, "created_by"), (RunEvent, "actor"), (Upload, "created_by"), (TenantExport, "created_by"))
    for model, name in (*places, (ClosedTenant, "closed_by")):
        room: Any = model._meta.get_field(name)
        assert room.max_length >= len(actor), model


def test_a_name_that_turns_text_around_is_refused():
    with pytest.raises(CommandError, match="1 to 120 printable"):
        create(email="a@acme.example", name="Acme \u202egpj")
