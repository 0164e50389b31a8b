"""Members of a tenant: their roles, their going, and the owner."""

import uuid

import pytest

from tenants.errors import Conflict, InvalidInput, NotFound
from tenants.models import ApiKey, AuditEvent, Membership, Tenant, User
from tenants.operations import team
from tenants.operations.keys import create_api_key
from tenants.queries import tenants_of
from tenants.scope import tenant_scope
from tests.factories import ACTOR, make_user


@pytest.fixture
def zoe(tenant: Tenant) -> User:
    return make_user(tenant, role="viewer", email="zoe@acme.example")


def membership(tenant: Tenant, user: User) -> Membership:
    with tenant_scope(tenant):
        found: Membership = Membership.objects.get(user=user)
    return found


def standing(tenant: Tenant, user: User) -> tuple[str, bool] | None:
    return next((t.role, t.is_owner) for t in tenants_of(user.pk) if t.tenant_id == tenant.pk)


def trail(tenant: Tenant) -> list[tuple[str, dict]]:
    with tenant_scope(tenant):
        team_verbs = ("member.", "tenant.transferred")
        events = [e for e in AuditEvent.objects.order_by("id") if e.verb.startswith(team_verbs)]
        return [(event.verb, event.detail) for event in events]


def test_a_role_is_changed_and_the_trail_says_from_what_to_what(tenant: Tenant, zoe: User):
    with tenant_scope(tenant):
        team.change_role(member_id=membership(tenant, zoe).pk, role="editor", actor=ACTOR)
        team.change_role(member_id=membership(tenant, zoe).pk, role="editor", actor=ACTOR)
    assert standing(tenant, zoe) == ("editor", False)
    assert trail(tenant) == [
        ("member.changed", {"user": zoe.email, "role": "editor", "former_role": "viewer"})
    ]


@pytest.mark.parametrize("role", ["owner", "", "ADMIN"])
def test_a_role_that_there_is_not_is_refused(tenant: Tenant, zoe: User, role: str):
    with tenant_scope(tenant), pytest.raises(InvalidInput):
        team.change_role(member_id=membership(tenant, zoe).pk, role=role, actor=ACTOR)
    assert standing(tenant, zoe) == ("viewer", False)


@pytest.mark.parametrize("role", ["editor", "viewer", "admin"])
def test_the_owner_is_neither_demoted_nor_removed_and_does_not_leave(tenant: Tenant, owner: User, role: str):
    make_user(tenant, role="admin")
    mine = membership(tenant, owner).pk
    for act in (
        lambda: team.change_role(member_id=mine, role=role, actor=ACTOR),
        lambda: team.remove_member(member_id=mine, actor=ACTOR),
        lambda: team.leave_tenant(user_id=owner.pk, actor=ACTOR),
    ):
        with tenant_scope(tenant), pytest.raises(Conflict, match="and the tenant over"):
            act()
    assert standing(tenant, owner) == ("admin", True)


def test_who_is_removed_belongs_no_more_and_their_keys_stay(tenant: Tenant, zoe: User):
    with tenant_scope(tenant):
        create_api_key(name="Zoe's sync", actor=ACTOR, created_by=zoe)
        team.remove_member(member_id=membership(tenant, zoe).pk, actor=ACTOR)
    assert tenants_of(zoe.pk) == []
    with tenant_scope(tenant):
        assert ApiKey.objects.get(created_by=zoe).revoked_at is None
    assert trail(tenant) == [("member.removed", {"user": zoe.email, "role": "viewer"})]


def test_who_leaves_belongs_no_more(tenant: Tenant, zoe: User):
    with tenant_scope(tenant):
        team.leave_tenant(user_id=zoe.pk, actor=f"user:{zoe.email}")
        with pytest.raises(NotFound):
            team.leave_tenant(user_id=zoe.pk, actor=f"user:{zoe.email}")
    assert tenants_of(zoe.pk) == []
    assert trail(tenant) == [("member.left", {"user": zoe.email, "role": "viewer"})]


def test_the_tenant_is_handed_over_to_an_admin_and_both_are_told(
    tenant: Tenant, owner: User, zoe: User, mailoutbox, django_capture_on_commit_callbacks
):
    heir = membership(tenant, zoe)
    with django_capture_on_commit_callbacks(execute=True), tenant_scope(tenant):
        team.change_role(member_id=heir.pk, role="admin", actor=ACTOR)
        team.transfer_ownership(member_id=heir.pk, by=owner.pk, actor=f"user:{owner.email}")
    assert (standing(tenant, owner), standing(tenant, zoe)) == (("admin", False), ("admin", True))
    assert trail(tenant)[-1] == (
        "tenant.transferred",
        {"owner": zoe.email, "former_owner": owner.email},
    )
    assert [mail.to for mail in mailoutbox] == [[owner.email], [zoe.email]]
    assert {mail.subject for mail in mailoutbox} == {"Weir: “Acme” has a new owner"}
    assert "now belongs to zoe@acme.example" in mailoutbox[0].body
    assert "you are now the owner" in mailoutbox[1].body
    assert all("Handed over by: owner@acme.example" in mail.body for mail in mailoutbox)


def test_a_mail_server_that_is_away_undoes_no_transfer(
    tenant: Tenant, owner: User, monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks
):
    from django.core.mail.backends.locmem import EmailBackend

    def away(self, messages):
        raise ConnectionRefusedError

    monkeypatch.setattr(EmailBackend, "send_messages", away)
    heir = make_user(tenant, role="admin")
    with django_capture_on_commit_callbacks(execute=True), tenant_scope(tenant):
        team.transfer_ownership(member_id=membership(tenant, heir).pk, by=owner.pk, actor=ACTOR)
    assert standing(tenant, heir) == ("admin", True)


@pytest.mark.parametrize("role", ["viewer", "editor"])
def test_only_an_admin_becomes_owner(tenant: Tenant, owner: User, role: str):
    other = make_user(tenant, role=role)
    with tenant_scope(tenant), pytest.raises(Conflict, match="is no admin"):
        team.transfer_ownership(member_id=membership(tenant, other).pk, by=owner.pk, actor=ACTOR)
    assert standing(tenant, owner) == ("admin", True)


def test_an_account_that_is_switched_off_does_not_become_owner(tenant: Tenant, owner: User):
    other = make_user(tenant, role="admin")
    User.objects.filter(pk=other.pk).update(is_active=False)
    with tenant_scope(tenant), pytest.raises(Conflict):
        team.transfer_ownership(member_id=membership(tenant, other).pk, by=owner.pk, actor=ACTOR)


def test_who_is_not_the_owner_hands_nothing_over(tenant: Tenant, owner: User):
    one, other = make_user(tenant, role="admin"), make_user(tenant, role="admin")
    with tenant_scope(tenant), pytest.raises(Conflict, match="not the owner any more"):
        team.transfer_ownership(member_id=membership(tenant, other).pk, by=one.pk, actor=ACTOR)
    with tenant_scope(tenant), pytest.raises(Conflict, match="owner already"):
        team.transfer_ownership(member_id=membership(tenant, owner).pk, by=owner.pk, actor=ACTOR)
    assert standing(tenant, owner) == ("admin", True)


def test_another_tenants_members_are_not_there(tenant: Tenant, other_tenant: Tenant, zoe: User):
    theirs = membership(tenant, zoe).pk
    for wanted in (theirs, uuid.uuid4()):
        for act in (
            lambda pk=wanted: team.change_role(member_id=pk, role="admin", actor=ACTOR),
            lambda pk=wanted: team.remove_member(member_id=pk, actor=ACTOR),
            lambda pk=wanted: team.transfer_ownership(member_id=pk, by=None, actor=ACTOR),
        ):
            with tenant_scope(other_tenant), pytest.raises(NotFound, match=r"There is no such member\."):
                act()
    with tenant_scope(other_tenant), pytest.raises(NotFound):
        team.leave_tenant(user_id=zoe.pk, actor=ACTOR)
    assert standing(tenant, zoe) == ("viewer", False)
