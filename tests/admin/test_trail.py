"""Every action of the console leaves one entry in the trail of the tenant that it touched, and takes the right to it."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse

from tenants.models import AuditEvent, Tenant, User
from tenants.ops_console.actions import OpsAction
from tenants.scope import ops_scope, tenant_scope
from tests.admin.rows import fill
from tests.admin.test_access import every_url
from tests.factories import PASSWORD, connect_all, make_run, make_user
from workflows.models import Record, Run, StepQueue

LAST = ("cancel", "revoke", "erase", "remove")
pytestmark = pytest.mark.usefixtures("committed")
ACTIONS = [
    (model, model_admin.page_actions)
    for model, model_admin in sorted(admin.site._registry.items(), key=lambda pair: pair[0]._meta.label)
    if getattr(model_admin, "page_actions", ())
]


def entries(tenant: Tenant) -> list[str]:
    with tenant_scope(tenant):
        found = AuditEvent.objects.filter(actor__startswith="staff:").exclude(verb="ops.viewed")
        return list(found.order_by("id").values_list("verb", flat=True))


def rows_of(model: Any, tenant: Tenant) -> list[Any]:
    with ops_scope("test"):
        rows = model._default_manager.all()
        own = rows.filter(pk=tenant.pk) if model is Tenant else rows.filter(tenant_id=tenant.pk)
        return list(own.order_by("-pk"))


def with_failed(run: Run) -> None:
    """A vendor gave up on two of the run's records."""
    with tenant_scope(run.tenant_id):
        given_up = list(Record.objects.filter(run=run)[:2])
        StepQueue.objects.filter(record_id__in=[record.pk for record in given_up]).delete()
        error = {"code": "vendor_error", "message": "Gave up."}
        Record.objects.filter(pk__in=[record.pk for record in given_up]).update(
            status="failed", started_at=Now(), finished_at=Now(), error=error
        )
        Run.objects.filter(pk=run.pk).update(pending=1, queued=1, failed=2)


def in_turn(actions: tuple[OpsAction, ...], model: Any, tenant: Tenant) -> Iterator[tuple[OpsAction, Any]]:
    """Each action once, with a row to which it applies; those that cannot be taken back come last."""
    left = sorted(actions, key=lambda action: action.name in LAST)
    while left:
        rows = rows_of(model, tenant)
        found = next(((action, row) for action in left for row in rows if action.applies(row)), None)
        assert found, f"{[one.name for one in left]} apply to no {model._meta.model_name}"
        left.remove(found[0])
        yield found


def test_there_are_actions_to_try():
    names = {action.name for _, actions in ACTIONS for action in actions}
    assert names >= {"suspend", "activate", "revoke", "pause", "resume", "cancel"}


@pytest.mark.parametrize(("model", "actions"), ACTIONS, ids=lambda value: getattr(value, "__name__", ""))
def test_an_action_leaves_one_entry(console: Client, model: Any, actions: tuple[OpsAction, ...]):
    tenant = fill(1).tenant
    connect_all(tenant)
    with_failed(make_run(tenant, 3, livemode=False))
    make_user(tenant, role="admin")
    for action, row in in_turn(actions, model, tenant):
        before = entries(tenant)
        meta = model._meta
        url = reverse(f"admin:{meta.app_label}_{meta.model_name}_{action.name}", args=[row.pk])
        assert console.get(url).status_code == 200
        assert entries(tenant) == before, f"asking for {action.name} is not doing it"
        form = {"typed": action.typed(row), "reason": "They asked for it."} if action.typed else {}
        answer = console.post(url, form)
        assert answer.status_code == 302, answer.content.decode()
        # What cannot be undone has several parts that are worth an entry.
        left = len(entries(tenant)) - len(before)
        assert left >= 1 if action.typed else left == 1, action.name


def test_staff_without_a_right_are_refused_on_every_page_and_change_nothing():
    tenant = fill(1).tenant
    with ops_scope("test"):
        User.objects.create_user("helper@weir.example", PASSWORD, is_staff=True)
        helper = User.objects.get(email="helper@weir.example")
    client = Client()
    client.force_login(helper)
    # Their own password, and texts and a search that show what one may see.
    open_to_all_staff = {
        "/admin/", "/admin/password_change/", "/admin/password_change/done/", "/admin/jsi18n/", "/admin/search/",
    }  # fmt: skip
    for url in every_url():
        for method in ("get", "post"):
            status = getattr(client, method)(url).status_code
            if url in open_to_all_staff:
                assert status < 500, url
            else:
                assert status in (302, 400, 403, 404, 405), f"{method} {url}: {status}"
    assert entries(tenant) == []


def test_the_trail_is_read_only_for_whoever_is_staff(console: Client):
    tenant = fill(1).tenant
    event = rows_of(AuditEvent, tenant)[0]
    name = "admin:tenants_auditevent"
    assert console.get(reverse(f"{name}_changelist")).status_code == 200
    page = reverse(f"{name}_change", args=[event.pk])
    assert console.get(page).status_code == 200
    assert console.post(page, {"verb": "x"}).status_code == 403
    assert console.get(reverse(f"{name}_add")).status_code == 403
    assert console.post(reverse(f"{name}_delete", args=[event.pk]), {"post": "yes"}).status_code == 403
    form = {"action": "delete_selected", "_selected_action": str(event.pk), "post": "yes"}
    console.post(reverse(f"{name}_changelist"), form)
    assert event.pk in {row.pk for row in rows_of(AuditEvent, tenant)}
    assert Permission.objects.filter(codename="delete_auditevent").exists()
