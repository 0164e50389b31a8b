"""Staff delete a tenant: only from its page, only by typing its name, with a reason; and see that it is gone."""

from django.test import Client
from django.urls import reverse

from billing.models import ClosedLedger
from tenants.models import AuditEvent, ClosedTenant, Tenant
from tenants.scope import ops_scope, tenant_scope
from tenants.tasks import erase_closing
from tests.admin.rows import fill


def test_a_tenant_is_deleted_from_its_page_by_typing_its_name(console: Client) -> None:
    tenant = fill(2, name="Fish & Chips").tenant
    url = reverse("admin:tenants_tenant_erase", args=[tenant.pk])
    page = reverse("admin:tenants_tenant_change", args=[tenant.pk])
    assert url in console.get(page).content.decode()
    assert "Type “Fish &amp; Chips”" in console.get(url).content.decode()
    for typed in ("", "fish & chips"):
        answer = console.post(url, {"typed": typed, "reason": "asked by mail"})
        assert "Nothing was changed" in answer.content.decode()
    with tenant_scope(tenant):
        assert Tenant.objects.get().status == "active"
    console.post(url, {"typed": "Fish & Chips", "reason": "asked by mail"})
    with tenant_scope(tenant):
        assert Tenant.objects.get().status == "closing"
        assert AuditEvent.objects.get(verb="tenant.closing").actor == "staff:ops@weir.example"
    assert "Closing" in console.get(page).content.decode()
    assert url not in console.get(page).content.decode()
    erase_closing()
    with ops_scope("test"):
        closed = ClosedTenant.objects.get()
        total = ClosedLedger.objects.first()
    assert (closed.closed_by, closed.reason) == ("staff:ops@weir.example", "asked by mail")
    listed = console.get(reverse("admin:tenants_closedtenant_changelist")).content.decode()
    assert "asked by mail" in listed
    assert "Fish" not in listed
    for name, row in (("tenants_closedtenant", closed), ("billing_closedledger", total)):
        assert row is not None
        assert console.get(reverse(f"admin:{name}_change", args=[row.pk])).status_code == 200
    totals = reverse("admin:billing_closedledger_changelist")
    assert console.get(totals, {"closed_tenant__id__exact": str(closed.pk)}).status_code == 200


def test_tenants_are_not_deleted_in_bulk(console: Client) -> None:
    tenant = fill(1).tenant
    form = {"action": "erase", "_selected_action": [str(tenant.pk)], "confirmed": "yes"}
    console.post(reverse("admin:tenants_tenant_changelist"), form)
    with tenant_scope(tenant):
        assert Tenant.objects.get().status == "active"
