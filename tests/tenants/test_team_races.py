"""Two people change the same team at the same moment: real threads, real commits, and the database has the last word."""

import os
import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from django.db import IntegrityError, connections, transaction

from tenants.errors import Conflict, WeirError
from tenants.models import Invitation, Membership, Tenant, User
from tenants.operations import invitations, team
from tenants.operations.accounts import delete_account
from tenants.operations.people import create_user, start_tenant
from tenants.scope import ops_scope, tenant_scope
from tests.factories import ACTOR, PASSWORD, make_user

pytestmark = pytest.mark.usefixtures("committed")
ROUNDS = 6


def at_once(*acts: Callable[[], Any]) -> list[Any]:
    """What each returned or raised, all of them started together in threads of their own."""
    gate = threading.Barrier(len(acts))
    results: list[Any] = [None] * len(acts)

    def run(number: int, act: Callable[[], Any]) -> None:
        gate.wait(10)
        try:
            results[number] = act()
        except (WeirError, IntegrityError) as error:
            results[number] = error
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(acts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive(), "two changes wait for each other"
    return results


def inside(tenant: Tenant, operation: Callable[..., Any], **given: Any) -> Callable[[], Any]:
    def act() -> Any:
        with tenant_scope(tenant):
            return operation(**{"actor": ACTOR, **given})

    return act


def member_of(tenant: Tenant, user: User) -> Any:
    with tenant_scope(tenant):
        return Membership.objects.filter(user=user).first()


def owners(tenant: Tenant) -> list[Any]:
    with tenant_scope(tenant):
        return list(Membership.objects.filter(is_owner=True).values_list("user_id", flat=True))


def refusals(results: list[Any]) -> list[Exception]:
    return [result for result in results if isinstance(result, Exception)]


def test_two_transfers_at_once_make_one_owner(tenant: Tenant, owner: User):
    heirs = [make_user(tenant, role="admin") for _ in range(2)]
    first, second = (member_of(tenant, heir).pk for heir in heirs)
    results = at_once(
        inside(tenant, team.transfer_ownership, member_id=first, by=owner.pk),
        inside(tenant, team.transfer_ownership, member_id=second, by=owner.pk),
    )
    (refused,) = refusals(results)
    assert "not the owner any more" in str(refused)
    (winner,) = [result for result in results if isinstance(result, Membership)]
    assert owners(tenant) == [winner.user_id]


def test_a_person_accepts_in_two_windows_and_is_a_member_once(tenant: Tenant, owner: User):
    ada = create_user(email="ada@new.example", password=PASSWORD)
    for _ in range(ROUNDS):
        invited = inside(tenant, invitations.invite, email=ada.email, role="editor", invited_by=owner)()
        accept = lambda token=invited.token: invitations.accept_invitation(token=token, user=ada)  # noqa: E731
        results = at_once(accept, accept)
        assert any(isinstance(result, Membership) for result in results)
        member = member_of(tenant, ada)
        assert member is not None
        inside(tenant, team.remove_member, member_id=member.pk)()


def test_accepted_while_it_is_revoked_it_is_the_one_or_the_other(tenant: Tenant, owner: User):
    ada = create_user(email="ada@new.example", password=PASSWORD)
    for _ in range(ROUNDS):
        invited = inside(tenant, invitations.invite, email=ada.email, role="editor", invited_by=owner)()
        results = at_once(
            lambda token=invited.token: invitations.accept_invitation(token=token, user=ada),
            inside(tenant, invitations.revoke_invitation, invitation_id=invited.invitation.pk),
        )
        assert len(refusals(results)) == 1
        with tenant_scope(tenant):
            row = Invitation.objects.get(pk=invited.invitation.pk)
        member = member_of(tenant, ada)
        assert (row.accepted_at is not None) == (member is not None) == (row.revoked_at is None)
        if member:
            inside(tenant, team.remove_member, member_id=member.pk)()


def test_removed_while_the_role_is_changed_a_member_is_gone_for_good(tenant: Tenant):
    for _ in range(ROUNDS):
        zoe = make_user(tenant, role="viewer")
        member = member_of(tenant, zoe)
        results = at_once(
            inside(tenant, team.remove_member, member_id=member.pk),
            inside(tenant, team.change_role, member_id=member.pk, role="admin"),
        )
        assert not isinstance(results[0], Exception)
        assert member_of(tenant, zoe) is None


def test_demoted_while_the_tenant_is_handed_to_them_the_owner_is_an_admin(tenant: Tenant, owner: User):
    for _ in range(ROUNDS):
        heir = make_user(tenant, role="admin")
        pk = member_of(tenant, heir).pk
        results = at_once(
            inside(tenant, team.transfer_ownership, member_id=pk, by=None),
            inside(tenant, team.change_role, member_id=pk, role="viewer"),
        )
        assert len(refusals(results)) == 1
        assert not isinstance(refusals(results)[0], IntegrityError)
        (holder,) = owners(tenant)
        with tenant_scope(tenant):
            assert Membership.objects.get(user_id=holder).role == "admin"


def test_the_hourly_limit_is_exact_however_many_ask_at_once(
    tenant: Tenant, owner: User, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(invitations, "MOST_PER_HOUR", 3)
    results = at_once(
        *(
            inside(tenant, invitations.invite, email=f"p{n}@new.example", role="viewer", invited_by=owner)
            for n in range(8)
        )
    )
    assert len(refusals(results)) == 5
    with tenant_scope(tenant):
        assert Invitation.objects.count() == 3


def test_work_that_refers_to_the_tenant_goes_on_while_its_team_changes(tenant: Tenant):
    """`take_turn` locks the tenant's row in a way that leaves rows pointing to it writable."""
    from tests.factories import make_key

    with tenant_scope(tenant):
        team.take_turn()
        (written,) = at_once(lambda: make_key(tenant))
        assert str(written).startswith("wk_live_")


def waits_for(tries: int, *, waiting: int) -> None:
    """Until so many sessions wait for a lock of another in this database."""
    for _ in range(tries):
        with psycopg.connect(os.environ["DATABASE_OWNER_URL"]) as owner:
            row = owner.execute(
                "SELECT count(DISTINCT l.pid) FROM pg_locks l JOIN pg_stat_activity a USING (pid) "
                "WHERE NOT l.granted AND a.datname = current_database()"
            ).fetchone()
        if row == (waiting,):
            return
        time.sleep(0.02)
    raise AssertionError(f"nobody came to wait: {row}")


def beside(act: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    """A thread with `act`, and the list that gets what it returned or raised."""
    ends: list[Any] = []
    thread = threading.Thread(target=lambda: ends.extend(at_once(act)))
    thread.start()
    return thread, ends


def test_an_account_whose_tenant_is_made_meanwhile_is_not_deleted():
    """Deletion has looked at what they own, and found nothing, when the tenant appears."""
    ada = create_user(email="ada@new.example", password=PASSWORD)
    with transaction.atomic():
        User.objects.select_for_update().get(pk=ada.pk)
        thread, ends = beside(lambda: delete_account(user_id=ada.pk))
        waits_for(500, waiting=1)
        tenant = start_tenant(name="Engines", owner=ada, actor=ACTOR)
    thread.join(30)
    (refused,) = ends
    assert isinstance(refused, Conflict)
    assert "You own a tenant since a moment ago" in str(refused)
    assert owners(tenant) == [ada.pk]


def test_nobody_who_is_being_deleted_starts_a_tenant(tenant: Tenant):
    """Whoever comes first has the lock: the tenant is started after the deletion, and finds nobody."""
    ada = create_user(email="ada@new.example", password=PASSWORD)
    with psycopg.connect(os.environ["DATABASE_OWNER_URL"]) as holder:
        holder.execute("SELECT 1 FROM tenants_user WHERE id = %s FOR UPDATE", [ada.pk])
        deletion, deleted = beside(lambda: delete_account(user_id=ada.pk))
        waits_for(500, waiting=1)
        start, started = beside(lambda: start_tenant(name="Engines", owner=ada, actor=ACTOR))
        waits_for(500, waiting=2)
    for thread in (deletion, start):
        thread.join(30)
    assert deleted == [None]
    (refused,) = started
    assert isinstance(refused, Conflict)
    assert "has been deleted" in str(refused)
    assert not User.objects.filter(pk=ada.pk).exists()
    with ops_scope("test"):
        assert [one.pk for one in Tenant.objects.all()] == [tenant.pk]


def test_handed_over_while_the_account_is_deleted_the_tenant_keeps_an_owner(tenant: Tenant, owner: User):
    for _ in range(ROUNDS):
        heir = make_user(tenant, role="admin")
        pk = member_of(tenant, heir).pk
        results = at_once(
            lambda heir=heir: delete_account(user_id=heir.pk),
            inside(tenant, team.transfer_ownership, member_id=pk, by=None),
        )
        (holder,) = owners(tenant)
        assert User.objects.filter(pk=heir.pk).exists() == (holder == heir.pk), results
        if holder == heir.pk:
            inside(tenant, team.transfer_ownership, member_id=member_of(tenant, owner).pk, by=None)()


@pytest.mark.parametrize(
    ("constraint", "change"),
    [
        ("membership_one_owner", lambda owner, other: add(other, role="admin", is_owner=True)),
        ("membership_once_per_tenant", lambda owner, other: add(owner, role="viewer")),
        (
            "membership_owner_is_admin",
            lambda owner, other: Membership.objects.filter(user=owner).update(role="viewer"),
        ),
    ],
)
def test_the_database_refuses_what_the_operations_would(
    tenant: Tenant, owner: User, constraint: str, change: Callable[[User, User], Any]
):
    other = create_user(email="x@new.example", password=PASSWORD)
    with pytest.raises(IntegrityError, match=constraint), tenant_scope(tenant):
        change(owner, other)
    assert owners(tenant) == [owner.pk]


def add(user: User, **given: Any) -> Membership:
    made: Membership = Membership.objects.create(user=user, **given)
    return made
