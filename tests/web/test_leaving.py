"""Export and delete in the settings: who may, what is asked, what the page says in each state, and one's own account."""

import io
import zipfile
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from tenants.models import AuditEvent, Membership, Tenant, TenantExport, User
from tenants.scope import tenant_scope
from tenants.tasks import prepare_exports
from tests.factories import PASSWORD, connect_all, make_key, make_run, make_tenant, make_user
from tests.web.conftest import SignIn

LEAVE, DELETE, EXPORT = "/app/settings/leave/", "/app/settings/leave/delete/", "/app/settings/leave/export/"


def text_of(answer: Any) -> str:
    return " ".join(answer.content.decode().split())


@pytest.fixture
def boss(sign_in: SignIn, owner: User) -> Client:
    """The owner, who proved a moment ago who they are."""
    return sign_in(owner, confirmed=True)


def test_admins_export_and_the_owner_alone_deletes(tenant: Tenant, sign_in: SignIn, editor: Client) -> None:
    admin = sign_in(make_user(tenant, role="admin"), confirmed=True)
    assert "Only the owner can do this" in text_of(admin.get(LEAVE))
    assert admin.get(DELETE).status_code == 403
    assert admin.post(DELETE, {"name": "Acme"}).status_code == 403
    for path in (LEAVE, DELETE):
        assert editor.get(path).status_code == 403
    assert editor.post(EXPORT).status_code == 403
    with tenant_scope(tenant):
        assert Tenant.objects.get().status == "active"
        assert not TenantExport.objects.exists()


def test_who_signed_in_long_ago_is_asked_again_first(tenant: Tenant, owner: User, sign_in: SignIn) -> None:
    client = sign_in(owner)
    for answer in (client.get(DELETE), client.post(DELETE, {"name": "Acme"}), client.post(EXPORT)):
        assert answer.status_code == 302
        assert "/accounts/" in answer["Location"]
    with tenant_scope(tenant):
        assert Tenant.objects.get().status == "active"
        assert not TenantExport.objects.exists()


def test_an_export_is_asked_for_prepared_and_downloaded(
    committed: None, tenant: Tenant, boss: Client
) -> None:
    connect_all(tenant)
    make_run(tenant, 2)
    assert "Prepare export" in text_of(boss.get(LEAVE))
    assert boss.post(EXPORT).status_code == 302
    assert boss.post(EXPORT).status_code == 302  # the one that is under way is the one
    waiting = boss.get(LEAVE)
    assert "Counting what there is" in text_of(waiting)
    version = waiting.context["version"]
    assert boss.get(f"{LEAVE}live/", {"v": version}).status_code == 204
    with tenant_scope(tenant):
        TenantExport.objects.update(status="preparing", done=500, total=1_000, seen_at=timezone.now())
    assert "500 of 1,000 rows written" in text_of(boss.get(f"{LEAVE}live/", {"v": version}))
    with tenant_scope(tenant):
        TenantExport.objects.update(status="waiting")
    prepare_exports()
    final = boss.get(f"{LEAVE}live/", {"v": version})
    assert final.status_code == 286
    assert "Download" in text_of(final)
    with tenant_scope(tenant):
        export = TenantExport.objects.get()
    answer = boss.get(f"{LEAVE}exports/{export.pk}/")
    assert answer.status_code == 200
    assert answer["Content-Disposition"].startswith('attachment; filename="acme-')
    assert answer["Cache-Control"] == "no-store"
    content = zipfile.ZipFile(io.BytesIO(b"".join(answer.streaming_content)))
    assert "tables/record.jsonl" in content.namelist()
    with tenant_scope(tenant):
        assert AuditEvent.objects.filter(verb="tenant.export_taken").count() == 1


def test_another_tenants_export_is_not_found_and_an_expired_one_is_gone(
    committed: None, tenant: Tenant, boss: Client, sign_in: SignIn
) -> None:
    boss.post(EXPORT)
    prepare_exports()
    with tenant_scope(tenant):
        export = TenantExport.objects.get()
    stranger = sign_in(make_tenant("Globex").owner, confirmed=True)
    assert stranger.get(f"{LEAVE}exports/{export.pk}/").status_code == 404
    with tenant_scope(tenant):
        TenantExport.objects.update(expires_at=timezone.now() - timedelta(minutes=1))
    assert boss.get(f"{LEAVE}exports/{export.pk}/").status_code == 410
    assert "has expired" in text_of(boss.get(LEAVE))


def test_a_failed_export_says_so_and_can_be_asked_for_again(tenant: Tenant, boss: Client) -> None:
    with tenant_scope(tenant):
        TenantExport.objects.create(status="failed", error="It could not be written.", created_by="user:x")
    page = text_of(boss.get(LEAVE))
    assert "The export was not finished" in page
    assert "It could not be written." in page
    assert "Prepare export" in page


def test_the_page_says_what_goes_and_what_stays_and_asks_for_the_name(tenant: Tenant, boss: Client) -> None:
    connect_all(tenant)
    make_run(tenant, 3)
    make_key(tenant)
    page = text_of(boss.get(DELETE))
    for words in ("1 run", "3 records with their history", "3 vendor keys", "1 API key", "1 membership",
                  "Totals per month", "There is no export to take with you"):  # fmt: skip
        assert words in page
    for typed in ("", "acme", "Globex"):
        answer = boss.post(DELETE, {"name": typed})
        assert answer.status_code == 422
        assert "Nothing was deleted" in text_of(answer)
    with tenant_scope(tenant):
        assert Tenant.objects.get().status == "active"


def test_confirmed_the_tenant_is_shut_at_once(
    committed: None, tenant: Tenant, boss: Client, viewer: Client
) -> None:
    answer = boss.post(DELETE, {"name": " Acme "}, follow=True)
    assert "It is closed, and being erased" in text_of(answer)
    assert "Acme" not in text_of(answer)
    assert viewer.get("/app/runs/").status_code in (302, 403)
    assert boss.get("/app/settings/leave/").status_code in (302, 403)
    with tenant_scope(tenant):
        assert Tenant.objects.get().status == "closing"
        event = AuditEvent.objects.get(verb="tenant.closing")
    assert event.actor == "user:owner@acme.example"


def test_a_person_deletes_their_account_and_leaves_what_they_made(
    committed: None, tenant: Tenant, sign_in: SignIn
) -> None:
    person = make_user(tenant, role="admin", email="ada@acme.example")
    make_key(tenant, created_by=person)
    elsewhere = Client()
    assert elsewhere.login(username="ada@acme.example", password=PASSWORD)
    assert elsewhere.get("/app/").status_code == 200
    client = sign_in(person, confirmed=True)
    assert "You leave “Acme”" in text_of(client.get("/accounts/delete/"))
    assert client.post("/accounts/delete/", {"email": "somebody"}).status_code == 422
    answer = client.post("/accounts/delete/", {"email": "Ada@acme.example"}, follow=True)
    assert "Your account is deleted" in text_of(answer)
    assert not User.objects.filter(email="ada@acme.example").exists()
    assert elsewhere.get("/app/").status_code == 302
    with tenant_scope(tenant):
        assert Membership.objects.count() == 1
        assert AuditEvent.objects.get(verb="member.left").actor == "user:ada@acme.example"


def test_an_owner_cannot_delete_their_account_before_the_tenant(
    committed: None, tenant: Tenant, boss: Client, owner: User
) -> None:
    assert "You own “Acme”" in text_of(boss.get("/accounts/delete/"))
    answer = boss.post("/accounts/delete/", {"email": owner.email})
    assert answer.status_code == 422
    assert User.objects.filter(pk=owner.pk).exists()


def test_staff_accounts_are_not_deleted_here(committed: None, sign_in: SignIn) -> None:
    staff = User.objects.create_superuser("ops@weir.example", PASSWORD)
    answer = sign_in(staff, confirmed=True).post("/accounts/delete/", {"email": staff.email})
    assert answer.status_code == 422
    assert User.objects.filter(pk=staff.pk).exists()
