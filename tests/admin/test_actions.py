"""What staff do in the console: the product's own operations, asked first, in the trail of the tenant."""

import pytest
from django.db import IntegrityError
from django.test import Client
from django.urls import reverse

from tenants.models import ApiKey, AuditEvent, Membership, Tenant, User
from tenants.scope import ops_scope, tenant_scope
from tests.admin.rows import fill
from tests.client import Api
from tests.factories import PASSWORD, connect_all, make_key, make_run, make_tenant, make_user
from workflows.models import Lane, Run

pytestmark = pytest.mark.usefixtures("committed")
ACTOR = "staff:ops@weir.example"


def press(console: Client, model: str, action: str, *rows, confirmed: bool = True):
    """Choose rows of a list and run an action on them."""
    form = {"action": action, "_selected_action": [str(row.pk) for row in rows]}
    return console.post(
        reverse(f"admin:{model}_changelist"), form | ({"confirmed": "yes"} if confirmed else {}), follow=True
    )


def trail(tenant: Tenant) -> list[tuple[str, str, str]]:
    with tenant_scope(tenant):
        return [
            (event.actor, event.verb, event.subject_id)
            for event in AuditEvent.objects.filter(actor=ACTOR).exclude(verb="ops.viewed").order_by("id")
        ]


def test_a_lane_is_paused_and_resumed_from_the_list_after_a_question(console: Client):
    filled = fill(1)
    asked = press(console, "workflows_lane", "pause", filled.lane, confirmed=False)
    assert "Pause lane" in asked.content.decode()
    assert trail(filled.tenant) == []
    press(console, "workflows_lane", "pause", filled.lane)
    with tenant_scope(filled.tenant):
        assert Lane.objects.get().paused
    press(console, "workflows_lane", "resume", filled.lane)
    with tenant_scope(filled.tenant):
        assert not Lane.objects.get().paused
    lane = str(filled.lane.pk)
    assert trail(filled.tenant) == [(ACTOR, "lane.paused", lane), (ACTOR, "lane.resumed", lane)]


def test_one_action_reaches_rows_of_several_tenants_each_in_its_own_trail(console: Client):
    first, second = fill(1), fill(1)
    press(console, "workflows_lane", "pause", first.lane, second.lane)
    for filled in (first, second):
        assert trail(filled.tenant) == [(ACTOR, "lane.paused", str(filled.lane.pk))]


def test_rows_to_which_an_action_does_not_apply_are_left_and_counted(console: Client):
    first, second = fill(1), fill(1)
    press(console, "workflows_lane", "pause", first.lane)
    answer = press(console, "workflows_lane", "pause", first.lane, second.lane).content.decode()
    assert "1 lane(s) paused." in answer
    assert "1 left as they were" in answer


def test_a_run_is_paused_resumed_and_cancelled_from_its_page(console: Client):
    tenant = make_tenant().tenant
    connect_all(tenant)
    run = make_run(tenant, 3, livemode=False)
    page = reverse("admin:workflows_run_change", args=[run.pk])
    for action, status in (("pause", "paused"), ("resume", "running"), ("cancel", "cancelled")):
        url = reverse(f"admin:workflows_run_{action}", args=[run.pk])
        assert url in console.get(page).content.decode()
        assert console.get(url).status_code == 200
        answer = console.post(url)
        assert answer.url == page
        with tenant_scope(tenant):
            assert Run.objects.get().status == status
        assert (ACTOR, f"run.{status}", str(run.pk)) in trail(tenant)
    left = console.get(page).content.decode()
    assert reverse("admin:workflows_run_cancel", args=[run.pk]) not in left


def test_asking_changes_nothing(console: Client):
    tenant = make_tenant().tenant
    connect_all(tenant)
    run = make_run(tenant, 1, livemode=False)
    console.get(reverse("admin:workflows_run_cancel", args=[run.pk]))
    with tenant_scope(tenant):
        assert Run.objects.get().status == "queued"
    assert trail(tenant) == []


def test_an_action_is_refused_without_the_token_of_its_form(staff: User):
    filled = fill(1)
    client = Client(enforce_csrf_checks=True)
    client.force_login(staff)
    assert client.post(reverse("admin:workflows_lane_pause", args=[filled.lane.pk])).status_code == 403
    with tenant_scope(filled.tenant):
        assert not Lane.objects.get().paused


def test_a_suspended_tenant_is_shut_out_until_it_is_activated(console: Client):
    tenant = make_tenant().tenant
    key = make_key(tenant)
    console.post(reverse("admin:tenants_tenant_suspend", args=[tenant.pk]))
    assert Api(key).get("/runs").status_code == 403
    assert ("suspended", [(ACTOR, "tenant.suspended", str(tenant.pk))]) == (status_of(tenant), trail(tenant))
    console.post(reverse("admin:tenants_tenant_activate", args=[tenant.pk]))
    assert status_of(tenant) == "active"
    assert trail(tenant)[-1] == (ACTOR, "tenant.active", str(tenant.pk))


def status_of(tenant: Tenant) -> str:
    with tenant_scope(tenant):
        return Tenant.objects.get().status


def test_a_revoked_key_is_refused(console: Client):
    tenant = make_tenant().tenant
    plain = make_key(tenant)
    with tenant_scope(tenant):
        key = ApiKey.objects.get()
    answer = press(console, "tenants_apikey", "revoke", key).content.decode()
    assert "1 key(s) revoked." in answer
    assert Api(plain).get("/runs").status_code == 401
    assert trail(tenant) == [(ACTOR, "key.revoked", str(key.pk))]


def test_a_tenants_plan_is_changed_and_the_trail_says_from_what_to_what(console: Client):
    tenant = make_tenant(plan="free").tenant
    url = reverse("admin:tenants_tenant_change", args=[tenant.pk])
    form = {"name": tenant.name, "plan": "pro", "monthly_credit_limit": "", "retention_days": "90"}
    people = {"membership_set-TOTAL_FORMS": "0", "membership_set-INITIAL_FORMS": "0"}
    answer = console.post(url, form | management(console, url) | people)
    assert answer.status_code == 302, answer.content.decode()
    with tenant_scope(tenant):
        assert Tenant.objects.get().plan == "pro"
        event = AuditEvent.objects.get(verb="ops.changed")
    assert (event.actor, event.detail) == (ACTOR, {"changes": {"plan": ["free", "pro"]}})


def test_a_plan_that_does_not_exist_is_refused(console: Client):
    tenant = make_tenant(plan="free").tenant
    url = reverse("admin:tenants_tenant_change", args=[tenant.pk])
    answer = console.post(
        url, {"name": "X", "plan": "platinum", "retention_days": "90"} | management(console, url)
    )
    assert answer.status_code == 200
    with tenant_scope(tenant):
        assert Tenant.objects.get().plan == "free"


@pytest.mark.parametrize("days", ["0", "3651", "2147483647"])
def test_a_retention_that_would_delete_at_once_or_stop_everybodys_is_refused(console: Client, days: str):
    tenant = make_tenant(plan="free").tenant
    url = reverse("admin:tenants_tenant_change", args=[tenant.pk])
    form = {"name": tenant.name, "plan": "pro", "monthly_credit_limit": "", "retention_days": days}
    people = {"membership_set-TOTAL_FORMS": "0", "membership_set-INITIAL_FORMS": "0"}
    answer = console.post(url, form | management(console, url) | people)
    assert answer.status_code == 200
    assert "from 1 to 3,650" in answer.content.decode()
    with pytest.raises(IntegrityError, match="tenant_retention_days"), ops_scope("test"):
        Tenant.objects.filter(pk=tenant.pk).update(retention_days=int(days))
    with tenant_scope(tenant):
        assert Tenant.objects.get().retention_days == 90


def management(console: Client, url: str) -> dict[str, str]:
    """What the inline forms of a page send along unchanged."""
    data: dict[str, str] = {}
    for inline in console.get(url).context["inline_admin_formsets"]:
        formset = inline.formset
        data |= {f"{formset.prefix}-{name}": value for name, value in formset.management_form.initial.items()}
        for form in formset.forms:
            data |= {
                f"{form.prefix}-{name}": str(form.instance.pk if name == "id" else form.initial.get(name, ""))
                for name in form.fields
                if name != "DELETE"
            }
    return data


def belonging(tenant: Tenant, person: User) -> Membership:
    with tenant_scope(tenant):
        found: Membership = Membership.objects.get(user=person)
    return found


def test_a_members_role_is_changed_and_a_member_removed_in_the_trail(console: Client):
    tenant = make_tenant().tenant
    person = make_user(tenant, role="viewer", email="zoe@tenant.example")
    member = belonging(tenant, person)
    press(console, "tenants_membership", "make_editor", member)
    assert belonging(tenant, person).role == "editor"
    asked = console.get(reverse("admin:tenants_membership_remove", args=[member.pk])).content.decode()
    assert "zoe@tenant.example" in asked
    console.post(reverse("admin:tenants_membership_remove", args=[member.pk]))
    with tenant_scope(tenant):
        assert not Membership.objects.filter(user=person).exists()
    assert [verb for _, verb, _ in trail(tenant)] == ["member.changed", "member.removed"]


def test_staff_neither_demote_nor_remove_an_owner_but_can_hand_a_tenant_over(console: Client, mailoutbox):
    people = make_tenant()
    heir = make_user(people.tenant, role="admin", email="zoe@tenant.example")
    own = belonging(people.tenant, people.owner)
    for action in ("make_viewer", "remove", "make_owner"):
        answer = press(console, "tenants_membership", action, own).content.decode()
        assert "1 left as they were" in answer
    assert belonging(people.tenant, people.owner).is_owner
    press(console, "tenants_membership", "make_owner", belonging(people.tenant, heir))
    assert belonging(people.tenant, heir).is_owner
    assert not belonging(people.tenant, people.owner).is_owner
    assert [verb for _, verb, _ in trail(people.tenant)] == ["tenant.transferred"]
    assert {address for mail in mailoutbox for address in mail.to} == {people.owner.email, heir.email}
    assert all("ops@weir.example" not in mail.body for mail in mailoutbox), "staff are not named to tenants"


def test_a_tenants_page_leads_to_its_members_and_changes_none_itself(console: Client):
    tenant = make_tenant().tenant
    member = belonging(tenant, make_user(tenant, role="viewer"))
    page = console.get(reverse("admin:tenants_tenant_change", args=[tenant.pk])).content.decode()
    assert reverse("admin:tenants_membership_change", args=[member.pk]) in page
    assert "membership_set-0-role" not in page
    assert "-DELETE" not in page


def test_an_invitation_is_taken_back_and_its_digest_never_shown(console: Client):
    from tenants.operations import invitations

    people = make_tenant()
    with tenant_scope(people.tenant):
        invited = invitations.invite(
            email="ada@new.example", role="viewer", invited_by=people.owner, actor="system:tests"
        )
    page = console.get(
        reverse("admin:tenants_invitation_change", args=[invited.invitation.pk])
    ).content.decode()
    assert "ada@new.example" in page
    assert invited.token not in page
    assert bytes(invited.invitation.digest).hex() not in page
    press(console, "tenants_invitation", "take_back", invited.invitation)
    assert invitations.find_open(invited.token) is None
    assert [verb for _, verb, _ in trail(people.tenant)] == ["invitation.revoked"]


def test_an_account_that_is_switched_off_is_signed_out_at_once_and_stays_so(console: Client):
    tenant = make_tenant().tenant
    person = make_user(tenant, role="viewer", email="zoe@tenant.example")
    browser = Client()
    assert browser.login(email=person.email, password=PASSWORD)
    assert browser.get("/app/").status_code == 200
    url = reverse("admin:tenants_user_change", args=[person.pk])
    for is_active in ({}, {"is_active": "on"}):
        answer = console.post(url, {"name": ""} | is_active | management(console, url))
        assert answer.status_code == 302, answer.content.decode()
        assert browser.get("/app/").status_code == 302
    assert [verb for _, verb, _ in trail(tenant)] == [
        "member.account_switched_off",
        "member.account_switched_on",
    ]


def test_who_becomes_staff_is_in_the_trail_of_their_tenant(console: Client):
    tenant = make_tenant().tenant
    person = make_user(tenant, role="viewer", email="zoe@tenant.example")
    url = reverse("admin:tenants_user_change", args=[person.pk])
    for is_staff in ({"is_staff": "on"}, {}):
        sent = {"name": "", "is_active": "on"} | is_staff | management(console, url)
        assert console.post(url, sent).status_code == 302
    assert [verb for _, verb, _ in trail(tenant)] == ["member.made_staff", "member.staff_no_longer"]


def test_too_many_rows_at_once_are_refused(console: Client, monkeypatch: pytest.MonkeyPatch):
    from tenants.ops_console import actions

    monkeypatch.setattr(actions, "MOST_AT_ONCE", 1)
    first, second = fill(1), fill(1)
    answer = press(console, "workflows_lane", "pause", first.lane, second.lane).content.decode()
    assert "Nothing was changed" in answer
    with ops_scope("test"):
        assert not Lane.objects.filter(paused=True).exists()
