"""What is asked before a tenant is known: every part of the answer is of the key, person or invitation asked about."""

import hashlib
from datetime import UTC, datetime, timedelta

from django.utils import timezone

from tenants.api_keys import digest
from tenants.ids import uuid7
from tenants.models import ApiKey, Invitation, Membership, Tenant, User
from tenants.queries import KeyOwner, OpenInvitation, TenantOfUser, key_owners, open_invitation, tenants_of
from tenants.scope import tenant_scope
from tests.factories import make_key, make_tenant


def test_a_key_tells_whose_it_is_and_how_it_stands(tenant: Tenant, other_tenant: Tenant):
    plain = make_key(tenant, livemode=False, scopes=["read", "write"])
    make_key(other_tenant)
    ended, revoked, used = (datetime(2031, 1, day, tzinfo=UTC) for day in (1, 2, 3))
    with tenant_scope(tenant):
        ApiKey.objects.update(expires_at=ended, revoked_at=revoked, last_used_at=used)
        key = ApiKey.objects.get()
        Tenant.objects.update(status=Tenant.Status.SUSPENDED)
    assert key_owners([digest(plain)])[digest(plain)] == KeyOwner(
        key_id=key.pk,
        tenant_id=tenant.pk,
        tenant_name="Acme",
        plan="pro",
        tenant_status="suspended",
        livemode=False,
        scopes=("read", "write"),
        expires_at=ended,
        revoked_at=revoked,
        last_used_at=used,
        hint=key.hint,
    )
    assert key_owners([digest(plain)[::-1]]) == {}


def test_a_person_belongs_to_tenants_by_name(tenant: Tenant, owner: User):
    other = make_tenant("Aardvark", plan="free").tenant
    with tenant_scope(other):
        Membership.objects.create(user=owner, role="editor")
    assert tenants_of(owner.pk) == [
        TenantOfUser(other.pk, "Aardvark", "free", "active", "editor", is_owner=False),
        TenantOfUser(tenant.pk, "Acme", "pro", "active", "admin", is_owner=True),
    ]
    assert tenants_of(uuid7()) == []


def test_an_invitation_is_found_while_it_is_open(tenant: Tenant, owner: User, other_tenant: Tenant):
    sealed, until = hashlib.sha256(b"token").digest(), timezone.now() + timedelta(days=1)
    with tenant_scope(tenant):
        invitation = Invitation.objects.create(
            email="new@acme.example", role="editor", digest=sealed, invited_by=owner, expires_at=until
        )
    assert open_invitation(sealed) == OpenInvitation(
        invitation_id=invitation.pk,
        tenant_id=tenant.pk,
        tenant_name="Acme",
        email="new@acme.example",
        role="editor",
        invited_by=owner.email,
        expires_at=until,
    )
    assert open_invitation(sealed[::-1]) is None
    with tenant_scope(tenant):
        Invitation.objects.update(revoked_at=timezone.now())
    assert open_invitation(sealed) is None
