"""Who may do what on the pages: a table of the routes, tried with every role and by somebody of another tenant."""

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

READ, EDIT, ADMINISTER = "viewer", "editor", "admin"
RANKS = (READ, EDIT, ADMINISTER)
# method, path, the least role
ROUTES = [
    ("GET", "/app/", READ),
    ("GET", "/app/home/recent/", READ),
    ("GET", "/app/runs/", READ),
    ("GET", "/app/runs/{run}/", READ),
    ("GET", "/app/runs/{run}/live/", READ),
    ("GET", "/app/runs/{run}/results.csv", READ),
    ("GET", "/app/runs/{run}/results.jsonl", READ),
    ("GET", "/app/runs/{run}/records/{record}/", READ),
    ("GET", "/app/vendors/", READ),
    ("GET", "/app/workflows/", READ),
    ("GET", "/app/workflows/email-waterfall/", READ),
    ("GET", "/app/insights/", READ),
    ("GET", "/app/developers/", READ),
    ("GET", "/app/settings/", READ),
    ("POST", "/app/settings/theme/", READ),
    ("POST", "/app/settings/tenant/", READ),
    ("GET", "/app/design/", READ),
    ("GET", "/app/runs/new/", EDIT),
    ("POST", "/app/runs/new/", EDIT),
    ("GET", "/app/uploads/{upload}/", EDIT),
    ("POST", "/app/uploads/{upload}/start/", EDIT),
    ("GET", "/app/runs/{run}/cancel/", EDIT),
    ("POST", "/app/runs/{run}/pause/", EDIT),
    ("POST", "/app/runs/{run}/resume/", EDIT),
    ("POST", "/app/runs/{run}/cancel/", EDIT),
    ("POST", "/app/vendors/lanes/{lane}/pause/", EDIT),
    ("POST", "/app/vendors/lanes/{lane}/resume/", EDIT),
    ("GET", "/app/vendors/new/", ADMINISTER),
    ("POST", "/app/vendors/new/", ADMINISTER),
    ("POST", "/app/vendors/sandbox/", ADMINISTER),
    ("POST", "/app/developers/", ADMINISTER),
    ("POST", "/app/settings/name/", ADMINISTER),
    ("GET", "/app/team/", READ),
    ("GET", "/app/team/leave/", READ),
    ("POST", "/app/team/leave/", READ),
    ("GET", "/app/team/invite/", ADMINISTER),
    ("POST", "/app/team/invite/", ADMINISTER),
    ("POST", "/app/team/invitations/{invitation}/resend/", ADMINISTER),
    ("POST", "/app/team/invitations/{invitation}/revoke/", ADMINISTER),
    ("POST", "/app/team/{member}/role/", ADMINISTER),
    ("GET", "/app/team/{member}/remove/", ADMINISTER),
    ("POST", "/app/team/{member}/remove/", ADMINISTER),
    ("GET", "/app/team/transfer/", ADMINISTER),
    ("POST", "/app/team/transfer/", ADMINISTER),
]


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


def send(client: Client, method: str, path: str, objects: dict[str, str]) -> Any:
    return client.generic(method, path.format(**objects))


@pytest.mark.parametrize(("method", "path", "least"), ROUTES)
def test_a_route_is_open_from_its_role_on(
    admin: Client, editor: Client, viewer: Client, objects: dict[str, str], method: str, path: str, least: str
):
    for role, client in zip(RANKS, (viewer, editor, admin), strict=True):
        status = send(client, method, path, objects).status_code
        if RANKS.index(role) < RANKS.index(least):
            assert status == 403, role
        else:
            assert status in (200, 204, 302, 422), role


@pytest.mark.parametrize(("method", "path", "least"), [route for route in ROUTES if "{" in route[1]])
def test_another_tenants_object_is_not_there(
    stranger: Client, objects: dict[str, str], method: str, path: str, least: str
):
    assert send(stranger, method, path, objects).status_code == 404


@pytest.mark.parametrize(("method", "path", "least"), ROUTES)
def test_nothing_is_open_without_signing_in(
    client: Client, objects: dict[str, str], method: str, path: str, least: str
):
    answer = send(client, method, path, objects)
    assert answer.status_code == 302
    assert answer["Location"].startswith("/accounts/login/")


def test_every_route_is_in_the_table():
    from workflows.web.urls import urlpatterns

    def shape(route: str) -> str:
        for name in ("run_id", "record_id", "upload_id", "lane_id", "invitation_id", "member_id"):
            route = route.replace(f"<uuid:{name}>", "{" + name.removesuffix("_id") + "}")
        return f"/app/{route}"

    wanted = {shape(str(pattern.pattern)) for pattern in urlpatterns}
    tried = {path for _, path, _ in ROUTES}
    spelled = {
        "/app/runs/{run}/results.<str:kind>": "/app/runs/{run}/results.csv",
        "/app/vendors/lanes/{lane}/<str:verb>/": "/app/vendors/lanes/{lane}/pause/",
        "/app/workflows/<slug:slug>/": "/app/workflows/email-waterfall/",
    }
    assert {spelled.get(route, route) for route in wanted} <= tried


def test_what_changes_something_refuses_a_mere_look(admin: Client, objects: dict[str, str]):
    posts = {path for method, path, _ in ROUTES if method == "POST"} - {
        path for method, path, _ in ROUTES if method == "GET"
    }
    assert posts
    for path in posts:
        assert send(admin, "GET", path, objects).status_code == 405


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
