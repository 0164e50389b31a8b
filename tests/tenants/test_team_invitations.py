"""Inviting people: one open invitation per address, a link that works once and for its address alone."""

import re
from datetime import timedelta

import pytest
from allauth.account.models import EmailAddress
from django.utils import timezone

from tenants import mails
from tenants.errors import Conflict, InvalidInput, NotAllowed, NotFound
from tenants.models import AuditEvent, Invitation, Membership, Tenant, User
from tenants.operations import accounts, invitations, team
from tenants.operations.people import create_user
from tenants.operations.tenants import suspend_tenant
from tenants.queries import tenants_of
from tenants.scope import tenant_scope
from tests.factories import ACTOR, PASSWORD, make_user

ADA = "ada@new.example"


@pytest.fixture
def invite(tenant: Tenant, owner: User):
    """`invite(email, role)`: what the owner's button does."""

    def invited(email: str = ADA, role: str = "editor") -> invitations.Invited:
        with tenant_scope(tenant):
            return invitations.invite(email=email, role=role, invited_by=owner, actor=f"user:{owner.email}")

    return invited


@pytest.fixture
def ada(db: None) -> User:
    return create_user(email=ADA, password=PASSWORD)


def role_of(tenant: Tenant, user: User) -> str | None:
    return next((t.role for t in tenants_of(user.pk) if t.tenant_id == tenant.pk), None)


def rows(tenant: Tenant, **wanted) -> list[Invitation]:
    with tenant_scope(tenant):
        return list(Invitation.objects.filter(**wanted).order_by("created_at"))


def test_an_accepted_invitation_makes_a_member_with_its_role(tenant: Tenant, invite, ada: User):
    member = invitations.accept_invitation(token=invite(role="editor").token, user=ada)
    assert (member.role, member.is_owner) == ("editor", False)
    assert role_of(tenant, ada) == "editor"
    with tenant_scope(tenant):
        trail = list(AuditEvent.objects.filter(verb__startswith="invitation.").values_list("verb", "actor"))
    assert set(trail) == {
        ("invitation.sent", "user:owner@acme.example"),
        ("invitation.accepted", f"user:{ADA}"),
    }


def test_only_a_fingerprint_of_the_token_is_kept(tenant: Tenant, invite):
    invited = invite()
    assert len(invited.token) == 43  # 256 bits
    assert invited.token not in repr(invited)
    with tenant_scope(tenant):
        kept = repr([list(Invitation.objects.values()), list(AuditEvent.objects.values())])
    assert invited.token not in kept
    assert invited.mailed_token not in kept


def test_an_address_is_kept_in_lower_case_without_blanks(tenant: Tenant, invite):
    invite("  Ada@New.Example ")
    assert [row.email for row in rows(tenant)] == [ADA]


@pytest.mark.parametrize(
    "email",
    ["", "ada", "ada@", "a@b.example, c@d.example", "ada@new.example\nBcc: all@x.example", "a" * 250 + "@b.example"],
)  # fmt: skip
def test_what_is_no_address_is_refused_and_the_field_is_named(tenant: Tenant, invite, email: str):
    with pytest.raises(InvalidInput) as refused:
        invite(email)
    assert refused.value.errors[0]["field"] == "email"
    assert rows(tenant) == []


@pytest.mark.parametrize("role", ["owner", "", "Admin", "root"])
def test_nobody_is_invited_as_owner_or_as_what_there_is_not(invite, role: str):
    with pytest.raises(InvalidInput) as refused:
        invite(role=role)
    assert refused.value.errors[0]["field"] == "role"


def test_who_belongs_already_is_not_invited(tenant: Tenant, invite):
    make_user(tenant, email=ADA)
    with pytest.raises(Conflict, match="belongs to Acme already"):
        invite(ADA.upper())


def test_inviting_again_replaces_the_invitation_and_its_role(tenant: Tenant, invite, ada: User):
    first, second = invite(role="viewer"), invite(role="admin")
    assert len(rows(tenant, revoked_at=None)) == 1
    with pytest.raises(NotFound):
        invitations.accept_invitation(token=first.token, user=ada)
    assert invitations.accept_invitation(token=second.token, user=ada).role == "admin"


def test_sent_again_the_link_before_is_dead_and_the_week_starts_anew(
    tenant: Tenant, owner: User, invite, ada: User
):
    first = invite()
    expire(tenant, first)
    with tenant_scope(tenant):
        again = invitations.resend(invitation_id=first.invitation.pk, invited_by=owner, actor=ACTOR)
    assert again.invitation.expires_at > timezone.now() + timedelta(days=6)
    with pytest.raises(NotFound):
        invitations.accept_invitation(token=first.token, user=ada)
    assert invitations.accept_invitation(token=again.token, user=ada).role == "editor"


def expire(tenant: Tenant, invited: invitations.Invited) -> None:
    with tenant_scope(tenant):
        Invitation.objects.filter(pk=invited.invitation.pk).update(expires_at=timezone.now())


def test_an_invitation_is_over_when_it_expired_was_revoked_or_its_tenant_is_suspended(
    tenant: Tenant, invite, ada: User
):
    expired, revoked, closed = invite("a@new.example"), invite("b@new.example"), invite(ADA)
    expire(tenant, expired)
    with tenant_scope(tenant):
        invitations.revoke_invitation(invitation_id=revoked.invitation.pk, actor=ACTOR)
        suspend_tenant(actor=ACTOR)
    for invited in (expired, revoked, closed):
        assert invitations.find_open(invited.token) is None
        with pytest.raises(NotFound):
            invitations.accept_invitation(token=invited.token, user=ada)
    assert role_of(tenant, ada) is None


def test_a_used_link_makes_nobody_else_a_member(tenant: Tenant, invite, ada: User):
    invited = invite()
    invitations.accept_invitation(token=invited.token, user=ada)
    with pytest.raises(NotFound):
        invitations.accept_invitation(token=invited.token, user=ada)
    with tenant_scope(tenant):
        assert Membership.objects.filter(user=ada).count() == 1


def test_somebody_else_cannot_use_the_link(tenant: Tenant, invite, other_tenant: Tenant):
    eve = make_user(other_tenant, email="eve@globex.example")
    invited = invite()
    for token in (invited.token, invited.mailed_token):
        with pytest.raises(NotAllowed, match=ADA):
            invitations.accept_invitation(token=token, user=eve)
    assert role_of(tenant, eve) is None
    assert invitations.find_open(invited.token) is not None


def test_an_address_that_nobody_verified_is_not_enough(tenant: Tenant, invite, ada: User):
    invited = invite()
    EmailAddress.objects.filter(user=ada).update(verified=False)
    with pytest.raises(NotAllowed):
        invitations.accept_invitation(token=invited.token, user=ada)
    assert role_of(tenant, ada) is None


def test_a_member_who_accepts_keeps_the_role_that_they_have(tenant: Tenant, invite, ada: User):
    invited = invite(role="viewer")
    with tenant_scope(tenant):
        Membership.objects.create(user=ada, role="admin")
    assert invitations.accept_invitation(token=invited.token, user=ada).role == "admin"
    assert role_of(tenant, ada) == "admin"


def test_an_invitation_opens_by_its_token_alone(tenant: Tenant, other_tenant: Tenant, invite):
    invited = invite()
    found = invitations.find_open(invited.mailed_token)
    assert found is not None
    assert (found.tenant_id, found.email, found.invited_by) == (tenant.pk, ADA, "owner@acme.example")
    for wrong in ("", ".", invited.token[:-1], invited.token + "x", str(invited.invitation.pk), "x\0y", "é"):
        assert invitations.find_open(wrong) is None


def test_another_tenant_neither_sees_nor_answers_an_invitation(
    tenant: Tenant, other_tenant: Tenant, owner: User, invite
):
    invited = invite()
    with tenant_scope(other_tenant):
        assert Invitation.objects.count() == 0
        for act in (
            lambda: invitations.revoke_invitation(invitation_id=invited.invitation.pk, actor=ACTOR),
            lambda: invitations.resend(invitation_id=invited.invitation.pk, invited_by=owner, actor=ACTOR),
        ):
            with pytest.raises(NotFound):
                act()
    assert invitations.find_open(invited.token) is not None


def test_two_tenants_invite_one_address_and_neither_learns_of_the_other(
    tenant: Tenant, other_tenant: Tenant, owner: User, invite, ada: User
):
    here = invite(role="viewer")
    with tenant_scope(other_tenant):
        there = invitations.invite(email=ADA, role="admin", invited_by=owner, actor=ACTOR)
    invitations.accept_invitation(token=there.token, user=ada)
    invitations.accept_invitation(token=here.token, user=ada)
    assert (role_of(tenant, ada), role_of(other_tenant, ada)) == ("viewer", "admin")


def test_an_answered_invitation_is_neither_revoked_nor_sent_again(
    tenant: Tenant, owner: User, invite, ada: User
):
    accepted, revoked = invite(), invite("b@new.example")
    invitations.accept_invitation(token=accepted.token, user=ada)
    with tenant_scope(tenant):
        invitations.revoke_invitation(invitation_id=revoked.invitation.pk, actor=ACTOR)
        for over in (accepted, revoked):
            with pytest.raises(Conflict):
                invitations.revoke_invitation(invitation_id=over.invitation.pk, actor=ACTOR)
            with pytest.raises(Conflict):
                invitations.resend(invitation_id=over.invitation.pk, invited_by=owner, actor=ACTOR)


def test_a_tenant_sends_so_many_an_hour_and_no_more_whoever_they_go_to(
    tenant: Tenant, invite, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(invitations, "MOST_PER_HOUR", 3)
    for _ in range(3):
        invite()
    with pytest.raises(Conflict, match=r"Try again in 60 minutes\."):
        invite("b@new.example")
    assert len(rows(tenant)) == 3
    with tenant_scope(tenant):
        oldest = Invitation.objects.order_by("created_at").first()
        oldest.created_at -= timedelta(minutes=58, seconds=30)
        oldest.save(update_fields=["created_at"])
    with pytest.raises(Conflict, match=r"Try again in 2 minutes\."):
        invite("b@new.example")
    with tenant_scope(tenant):
        Invitation.objects.filter(pk=oldest.pk).update(created_at=timezone.now() - timedelta(hours=1))
    invite("b@new.example")


def test_so_many_are_open_at_once_and_one_of_them_can_still_be_replaced(
    tenant: Tenant, invite, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(invitations, "MOST_OPEN", 2)
    first = invite("a@new.example")
    invite("b@new.example")
    invite("b@new.example")
    with pytest.raises(Conflict, match="Revoke one first"):
        invite("c@new.example")
    expire(tenant, first)
    invite("c@new.example")


# --- What goes out by mail


def test_the_mail_names_who_invites_to_what_as_what_and_until_when(tenant: Tenant, invite, mailoutbox):
    invited = invite()
    assert invitations.deliver(invited, link=f"https://weir.example/invitations/{invited.mailed_token}/")
    (mail,) = mailoutbox
    assert mail.to == [ADA]
    assert mail.subject == "Weir: owner@acme.example invites you to “Acme”"
    assert mail.message().get_content_type() == "text/plain"
    for words in (
        "owner@acme.example invites you",
        "“Acme”",
        "as editor",
        ADA,
        f"/invitations/{invited.mailed_token}/",
    ):
        assert words in mail.body
    assert f"{invited.invitation.expires_at:%Y}" in mail.body
    assert rows(tenant)[0].mailed_at is not None


def test_the_link_that_the_inviter_sees_proves_no_mailbox(invite):
    one, other = invite(), invite("b@new.example")
    assert invitations.came_by_mail(one.mailed_token)
    assert not invitations.came_by_mail(one.token)
    for forged in (
        one.token + ".", one.token + ".x", f"{one.token}.{other.mailed_token.partition('.')[2]}",
        one.mailed_token + "x", "",
    ):  # fmt: skip
        assert not invitations.came_by_mail(forged)


@pytest.mark.parametrize(
    "name",
    [
        "Acme\r\nBcc: everybody@x.example",
        "Win now https://evil.example/a?b=c",
        "HTTP://evil.example www.evil.example //evil.example",
        "javascript:alert(1)",
        "<b>Acme</b><script>alert(1)</script>",
        "{{ link }}{% now 'Y' %}",
        "A\u202ecme\u200b\x07",
        "A" * 120,
    ],
)
def test_a_tenants_name_can_neither_add_a_header_nor_a_link(tenant: Tenant, invite, mailoutbox, name: str):
    with tenant_scope(tenant):
        Tenant.objects.filter(pk=tenant.pk).update(name=name)
    assert invitations.deliver(invite(), link="https://weir.example/invitations/x/")
    (mail,) = mailoutbox
    message = mail.message()
    assert message["Bcc"] is None
    assert "\n" not in mail.subject
    assert mail.recipients() == [ADA]
    assert re.findall(r"\w+:/*\w[\w.]*\.example|www\.|//[\w.]+", mail.body + mail.subject) == [
        "https://weir.example"
    ]
    assert message.get_content_type() == "text/plain"
    assert len(mail.subject) < 160
    assert not re.search("[\u200b\u202e\x07]", mail.body + mail.subject)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Acme: Berlin", "Acme: Berlin"),
        ("Your account is locked: see below", "Your account is locked: see below"),
        ("evil-login.com/x", "evil-login[.]com/x"),
        ("evil。example", "evil[.]example"),
        ("https://evil.example", "evil[.]example"),
        ("mailto:a@evil.example", "a@evil[.]example"),
        ("Acme Inc. of Berlin", "Acme Inc. of Berlin"),
    ],
)
def test_a_name_loses_its_links_and_no_words(name: str, shown: str):
    assert mails.harmless(name) == shown


def test_a_mail_server_that_refuses_is_told_and_leaves_the_invitation(
    tenant: Tenant, invite, ada: User, monkeypatch: pytest.MonkeyPatch
):
    import smtplib

    from django.core.mail.backends.locmem import EmailBackend

    def refuse(self, messages):
        raise smtplib.SMTPRecipientsRefused({ADA: (550, b"no")})

    monkeypatch.setattr(EmailBackend, "send_messages", refuse)
    invited = invite()
    assert invitations.deliver(invited, link="https://weir.example/") is False
    assert rows(tenant)[0].mailed_at is None
    assert invitations.accept_invitation(token=invited.token, user=ada).role == "editor"


@pytest.mark.parametrize("way", ["removed", "left", "demoted"])
def test_who_may_invite_no_more_has_no_invitations_out(tenant: Tenant, way: str):
    boss = make_user(tenant, role="admin")
    with tenant_scope(tenant):
        made = invitations.invite(email=ADA, role="admin", invited_by=boss, actor=ACTOR)
        member = Membership.objects.get(user=boss)
        if way == "removed":
            team.remove_member(member_id=member.pk, actor=ACTOR)
        elif way == "left":
            team.leave_tenant(user_id=boss.pk, actor=ACTOR)
        else:
            team.change_role(member_id=member.pk, role="editor", actor=ACTOR)
        event = AuditEvent.objects.first()
    assert invitations.find_open(made.token) is None
    assert event is not None
    assert event.detail["revoked_invitations"] == [ADA]


@pytest.mark.django_db(transaction=True, databases=["default", "ops"])
def test_who_owns_a_tenant_since_a_moment_ago_is_not_deleted(owner: User, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(accounts, "tenants_of", lambda user_id: [])  # as it was before
    with pytest.raises(Conflict, match="since a moment ago"):
        accounts.delete_account(user_id=owner.pk)
    assert User.objects.filter(pk=owner.pk).exists()
