"""Who may enter the console, and that its door is the only way across tenants."""

import uuid
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import AnonymousUser, Group, Permission
from django.http import HttpResponse
from django.test import Client, RequestFactory
from django.urls import URLPattern, URLResolver, reverse

from config.ops_middleware import OpsConsoleMiddleware
from tenants.errors import ScopeError
from tenants.models import AuditEvent, User
from tenants.scope import ops_reason, ops_scope, tenant_scope
from tests.admin.rows import Filled, fill
from tests.factories import PASSWORD, make_tenant
from workflows.models import Run

pytestmark = pytest.mark.usefixtures("committed")

OPEN = {"login", "logout"}


def every_url() -> list[str]:
    """An address for every route below /admin/."""
    found = []

    def walk(patterns, prefix: str) -> None:
        for entry in patterns:
            if isinstance(entry, URLResolver):
                walk(entry.url_patterns, prefix + str(entry.pattern))
            elif isinstance(entry, URLPattern) and entry.name not in OPEN:
                path = str(entry.pattern)
                for part in ("<path:object_id>", "<path:content_type_id>/<path:object_id>", "<id>"):
                    path = path.replace(part, str(uuid.uuid4()))
                if "<" not in path and "(" not in path:
                    found.append("/admin/" + prefix + path)

    walk(admin.site.get_urls(), "")
    return sorted(set(found))


def test_every_route_of_the_console_is_tried():
    urls = every_url()
    assert len(urls) > 80
    assert "/admin/" in urls
    assert any(url.endswith("/suspend/") for url in urls)


@pytest.mark.parametrize("method", ["get", "post"])
def test_a_stranger_is_sent_to_the_login_from_every_page(method: str):
    client = Client()
    for url in every_url():
        answer = getattr(client, method)(url)
        assert answer.status_code == 302, url
        assert answer.url.startswith("/admin/login/"), url


@pytest.mark.parametrize("method", ["get", "post"])
def test_a_tenants_own_administrator_is_refused_on_every_page(method: str):
    client = Client()
    client.force_login(make_tenant().owner)
    for url in every_url():
        answer = getattr(client, method)(url)
        assert answer.status_code == 302, url
        assert answer.url.startswith("/admin/login/"), url


def test_staff_who_were_shut_out_are_refused(console: Client, staff: User):
    staff.is_active = False
    staff.save()
    assert console.get("/admin/").status_code == 302


def enter(client: Client, email: str, password: str = PASSWORD) -> Any:
    """Sign in where the console's door leads."""
    door = client.get("/admin/login/?next=/admin/workflows/run/")
    assert door.url == "/accounts/login/?next=/admin/workflows/run/"
    return client.post(door.url, {"login": email, "password": password})


def test_staff_sign_in_by_e_mail_whatever_its_case(staff: User):
    client = Client()
    assert enter(client, "OPS@weir.example").url == "/admin/workflows/run/"
    assert client.get("/admin/").status_code == 200


def test_the_door_leads_to_no_other_site():
    assert Client().get("/admin/login/?next=https://evil.example/").url == "/accounts/login/?next=/admin/"


def test_a_wrong_password_and_a_tenants_person_are_not_let_in(staff: User):
    client = Client()
    assert enter(client, staff.email, "wrong").status_code == 200
    assert client.get("/admin/").status_code == 302
    client = Client()
    enter(client, make_tenant().owner.email)
    assert client.get("/admin/").status_code == 302
    assert client.get("/admin/", follow=True).status_code == 403


def test_guessing_passwords_is_stopped(staff: User):
    client = Client()
    for _ in range(12):
        enter(client, staff.email, "guess")
    answer = enter(client, staff.email)
    assert answer.status_code == 200
    assert "Too many" in answer.content.decode()


def test_signing_out_ends_the_session(console: Client):
    console.post("/admin/logout/")
    assert console.get("/admin/").status_code == 302


def test_staff_see_only_what_they_were_given():
    fill(1)
    group = Group.objects.using("ops")
    with ops_scope("test"):
        readers = group.create(name="Readers")
        readers.permissions.set(Permission.objects.filter(codename="view_run"))
        reader = User.objects.create_user("reader@weir.example", PASSWORD, is_staff=True)
        reader.groups.set([readers])
        run = Run.objects.first()
    client = Client()
    client.force_login(reader)
    assert client.get(reverse("admin:workflows_run_changelist")).status_code == 200
    assert client.get(reverse("admin:workflows_run_change", args=[run.pk])).status_code == 200
    assert client.get(reverse("admin:workflows_lane_changelist")).status_code == 403
    assert client.get("/admin/").status_code == 200
    for name in ("cancel", "pause", "resume"):
        assert client.post(reverse(f"admin:workflows_run_{name}", args=[run.pk])).status_code == 403
    client.post(
        reverse("admin:workflows_run_changelist"),
        {"action": "cancel", "_selected_action": str(run.pk), "confirmed": "yes"},
    )
    with ops_scope("test"):
        assert Run.objects.get(pk=run.pk).status == "running"


def test_staff_cannot_give_themselves_rights():
    with ops_scope("test"):
        helper = User.objects.create_user("helper@weir.example", PASSWORD, is_staff=True)
        helper.user_permissions.set(Permission.objects.filter(codename__in=["view_user", "change_user"]))
        boss = User.objects.create_superuser("boss@weir.example", PASSWORD)
    client = Client()
    client.force_login(helper)
    url = reverse("admin:tenants_user_change", args=[helper.pk])
    inline = {"memberships-TOTAL_FORMS": "0", "memberships-INITIAL_FORMS": "0"}
    answer = client.post(
        url, {"name": "New", "is_superuser": "on", "is_active": "on", "is_staff": "on", **inline}
    )
    assert answer.status_code == 302
    helper.refresh_from_db()
    assert helper.name == "New"
    assert not helper.is_superuser
    assert client.post(reverse("admin:tenants_user_change", args=[boss.pk]), {"name": "X"}).status_code == 403


def test_opening_a_page_is_in_the_trail_of_its_tenant(console: Client):
    filled: Filled = fill(1)
    console.get(reverse("admin:workflows_record_change", args=[filled.record.pk]))
    with tenant_scope(filled.tenant):
        event = AuditEvent.objects.get(verb="ops.viewed")
    assert event.actor == "staff:ops@weir.example"
    assert event.subject_id == str(filled.record.pk)
    assert event.request_id


def test_no_row_of_the_engine_can_be_added_changed_or_deleted(console: Client):
    filled = fill(1)
    for model, key in (
        ("workflows_run", filled.run.pk),
        ("workflows_record", filled.record.pk),
        ("integrations_connection", filled.connection.pk),
        ("workflows_lane", filled.lane.pk),
        ("tenants_apikey", filled.key.pk),
    ):
        assert console.get(reverse(f"admin:{model}_add")).status_code == 403
        assert console.post(reverse(f"admin:{model}_change", args=[key]), {"status": "x"}).status_code == 403
        assert console.post(reverse(f"admin:{model}_delete", args=[key]), {"post": "yes"}).status_code == 403


def test_an_operation_cannot_be_run_inside_a_transaction_of_the_ops_login():
    from django.db import transaction

    from tenants.scope import as_tenant_from_ops

    tenant = make_tenant().tenant
    with pytest.raises(ScopeError), as_tenant_from_ops(tenant.pk):
        pass
    with (
        ops_scope("test"),
        transaction.atomic(using="ops"),
        pytest.raises(ScopeError),
        as_tenant_from_ops(tenant.pk),
    ):
        pass


def test_stepping_into_a_tenant_sees_that_tenant_alone_and_comes_back(console: Client):
    from tenants.models import Tenant
    from tenants.scope import as_tenant_from_ops, open_tenant_id, ops_reason

    mine, other = make_tenant().tenant, make_tenant().tenant
    with ops_scope("test"):
        with as_tenant_from_ops(mine.pk):
            assert ops_reason() is None
            assert list(Tenant.objects.all()) == [mine]
            assert Tenant.objects.db == "default"
        assert ops_reason() == "test"
        assert open_tenant_id() is None
        assert {mine, other} <= set(Tenant.objects.all())
        with pytest.raises(ValueError, match="boom"), as_tenant_from_ops(mine.pk):
            raise ValueError("boom")
        assert ops_reason() == "test"


@pytest.mark.parametrize(
    ("rights", "path", "entered"),
    [
        ({"is_staff": True}, "/admin/", True),
        ({"is_staff": True}, "/app/", False),
        ({"is_staff": True, "is_active": False}, "/admin/", False),
        ({"is_superuser": True}, "/admin/", False),
        ({}, "/admin/", False),
        (None, "/admin/", False),
    ],
)
def test_the_scope_is_opened_for_staff_under_admin_alone(rights, path: str, entered: bool):
    seen = []
    request = RequestFactory().get(path)
    request.user = AnonymousUser() if rights is None else User(email="x@weir.example", **rights)

    def view(request):
        seen.append(ops_reason())
        return HttpResponse()

    OpsConsoleMiddleware(view)(request)
    assert seen == (["ops console: x@weir.example"] if entered else [None])
    assert ops_reason() is None
