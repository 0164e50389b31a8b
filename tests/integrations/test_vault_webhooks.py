"""Signing secrets of webhook endpoints in the vault: which open, in which order, and bound to what."""

from datetime import UTC, datetime, timedelta

import pytest

from integrations import vault
from integrations.errors import VaultError
from integrations.models import DataKey, WebhookEndpoint, WebhookSecret
from tenants.models import Tenant
from tenants.scope import tenant_scope
from tenants.secret import Secret
from tests.factories import ACTOR, make_connection

OLD, NEW, OTHER = "whsec_the-old-one", "whsec_the-new-one", "whsec_of-another"


def endpoint(tenant: Tenant, name: str) -> WebhookEndpoint:
    with tenant_scope(tenant):
        return WebhookEndpoint.objects.create(url=f"https://{name}.example/hook", created_by=ACTOR)


def seal(one: WebhookEndpoint, plain: str, *, expires_in_s: float | None = None) -> WebhookSecret:
    row = vault.seal_webhook_secret(one, Secret(plain))
    if expires_in_s is not None:
        row.expires_at = datetime.now(UTC) + timedelta(seconds=expires_in_s)
        row.save(update_fields=["expires_at"])
    return row


def opened() -> dict[object, list[str]]:
    found = vault.open_webhook_secrets()
    assert all(type(secret) is Secret for secrets in found.values() for secret in secrets)
    return {one: [secret.reveal() for secret in secrets] for one, secrets in found.items()}


def test_each_endpoint_has_its_own_the_present_one_first_and_none_past_its_time(tenant: Tenant) -> None:
    one, other = endpoint(tenant, "one"), endpoint(tenant, "other")
    with tenant_scope(tenant):
        assert opened() == {}
        seal(one, "whsec_long-gone", expires_in_s=-1)
        seal(one, OLD, expires_in_s=600)
        kept = seal(one, NEW)
        seal(other, OTHER)
        assert opened() == {one.pk: [NEW, OLD], other.pk: [OTHER]}
        assert WebhookSecret.objects.get(pk=kept.pk).endpoint_id == one.pk
        assert all(NEW.encode() not in bytes(row.sealed) for row in WebhookSecret.objects.all())


def test_one_moved_to_another_row_endpoint_or_kind_does_not_open_and_takes_no_other_along(
    tenant: Tenant,
) -> None:
    one, other = endpoint(tenant, "one"), endpoint(tenant, "other")
    connection = make_connection(tenant, "prospeo", secret="a-vendors-key-0815")
    with tenant_scope(tenant):
        first, second = seal(one, NEW), seal(other, OTHER)
        WebhookSecret.objects.filter(pk=first.pk).update(sealed=second.sealed)
        assert opened() == {one.pk: [], other.pk: [OTHER]}
        foreign = vault.seal_connection_secret(connection, Secret(NEW))
        WebhookSecret.objects.filter(pk=first.pk).update(sealed=foreign.sealed)
        assert opened() == {one.pk: [], other.pk: [OTHER]}
        WebhookSecret.objects.filter(pk=first.pk).update(sealed=first.sealed)
        assert opened() == {one.pk: [NEW], other.pk: [OTHER]}


def test_tenants_open_their_own_alone_and_nothing_where_their_keys_are_destroyed(
    tenant: Tenant, other_tenant: Tenant
) -> None:
    mine, theirs = endpoint(tenant, "mine"), endpoint(other_tenant, "theirs")
    with tenant_scope(other_tenant):
        seal(theirs, OTHER)
    with tenant_scope(tenant):
        row = seal(mine, NEW)
        assert opened() == {mine.pk: [NEW]}
        vault.shred()
        with pytest.raises(VaultError) as caught:
            vault.open_webhook_secrets()
        assert caught.value.detail == vault.GONE
    with tenant_scope(other_tenant):
        assert opened() == {theirs.pk: [OTHER]}
        moved = WebhookSecret.objects.get()
        WebhookSecret.objects.filter(pk=moved.pk).update(sealed=row.sealed)
        assert opened() == {theirs.pk: []}


def test_they_open_after_every_change_of_keys_those_past_their_time_too(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vault, "BATCH", 2)
    places = [endpoint(tenant, f"place{number}") for number in range(5)]
    connection = make_connection(tenant, "prospeo", secret="a-vendors-key-4711")
    with tenant_scope(tenant):
        late = seal(places[0], OLD, expires_in_s=-1)
        for number, place in enumerate(places):
            seal(place, f"whsec_{number}")
        before = opened()
        wrapped = bytes(DataKey.objects.get().wrapped)
        sealed = {row.pk: bytes(row.sealed) for row in WebhookSecret.objects.all()}
        assert vault.renew() == vault.Renewal(sealed=7)
        assert bytes(DataKey.objects.get().wrapped) != wrapped
        assert all(bytes(row.sealed) != sealed[row.pk] for row in WebhookSecret.objects.all())
        assert opened() == before == {place.pk: [f"whsec_{n}"] for n, place in enumerate(places)}
        assert vault.open_connection_secret(connection).reveal() == "a-vendors-key-4711"
        WebhookSecret.objects.filter(pk=late.pk).update(expires_at=datetime.now(UTC) + timedelta(minutes=1))
        assert OLD in opened()[places[0].pk]
        WebhookSecret.objects.filter(pk=late.pk).update(sealed=b"\1broken")
        assert vault.renew() == vault.Renewal(sealed=6, unreadable=1)
