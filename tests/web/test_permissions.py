"""Forms from elsewhere, people of several tenants or of none. Every page with every role: tests/invariants."""

from typing import TYPE_CHECKING, Any

import pytest
from django.test import Client

from tenants.models import Membership
from tenants.operations.invitations import invite
from tenants.operations.people import create_user
from tenants.scope import tenant_scope
from workflows.models import Lane, Run, Upload

if TYPE_CHECKING:
    from tenants.models import Tenant


@pytest.fixture
def objects(tenant: "Tenant", owner: Any, run: Run, first_record: Any) -> dict[str, str]:
    with tenant_scope(tenant):
        upload = Upload.objects.create(
            filename="a.csv", stored_as="none", size=1, dialect={}, columns=["Name", "Company"], rows=1,
            mapping={"full_name": "Name", "company": "Company"}, created_by="system:tests",
        )  # fmt: skip
        lane = Lane.objects.first()
        invited = invite(email="ada@new.example", role="viewer", invited_by=owner, actor="system:tests")
        member = Membership.objects.create(user=create_user(email="zoe@new.example", password=None))
    assert lane
    ids = {"run": run.pk, "record": first_record, "upload": upload.pk, "lane": lane.pk}
    ids |= {"invitation": invited.invitation.pk, "member": member.pk}
    return {name: str(pk) for name, pk in ids.items()}


def test_a_form_from_elsewhere_changes_nothing(owner: Any, objects: dict[str, str]):
    client = Client(enforce_csrf_checks=True)
    client.force_login(owner, backend="allauth.account.auth_backends.AuthenticationBackend")
    answer = client.post(f"/app/runs/{objects['run']}/cancel/")
    assert answer.status_code == 403
    assert b"This form is too old" in answer.content


def test_a_person_without_a_tenant_is_told_so(db: None, client: Client):
    from tenants.operations.people import create_user

    user = create_user(email="alone@nowhere.example", password="long enough 1")
    client.force_login(user, backend="allauth.account.auth_backends.AuthenticationBackend")
    assert client.get("/app/runs/")["Location"] == "/accounts/workspace/"
    assert "Name your workspace" in client.get("/accounts/workspace/").content.decode()


def test_a_person_of_two_tenants_switches_between_them(
    admin: Client, owner: Any, other_tenant: "Tenant", run: Run
):
    from tenants.models import Membership

    with tenant_scope(other_tenant):
        Membership.objects.create(user=owner, role="viewer")
    admin.post("/app/settings/tenant/", {"tenant": str(other_tenant.pk)})
    assert admin.get(f"/app/runs/{run.pk}/").status_code == 404
    admin.post("/app/settings/tenant/", {"tenant": str(run.tenant_id)})
    assert admin.get(f"/app/runs/{run.pk}/").status_code == 200


def test_a_tenant_that_is_not_theirs_cannot_be_switched_to(admin: Client, other_tenant: "Tenant", run: Run):
    admin.post("/app/settings/tenant/", {"tenant": str(other_tenant.pk)})
    assert admin.get(f"/app/runs/{run.pk}/").status_code == 200


def test_a_viewer_sees_no_button_that_they_may_not_use(viewer: Client, objects: dict[str, str]):
    for path in ("/app/", "/app/runs/", f"/app/runs/{objects['run']}/", "/app/vendors/", "/app/developers/"):
        html = viewer.get(path).content.decode()
        for words in (
            "Upload contacts",
            "New run",
            "</svg>Pause",
            "Cancel run",
            "Connect a vendor",
            "Create key",
        ):
            assert words not in html, path
