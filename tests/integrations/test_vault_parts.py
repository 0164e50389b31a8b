"""The vault's parts by themselves: forms and words of what does not open, counts of a rotation, names of lost keys."""

import base64
import hashlib
import hmac
import os
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from integrations import operations, vault
from integrations.errors import MasterKeyMissing, VaultError
from integrations.models import Connection, ConnectionSecret, DataKey
from integrations.vault import check, masters, rotation, sealing
from integrations.vault.masters import LocalKey, Ring, ring
from integrations.vault.rotation import rotate
from integrations.vault_keys import WANTED, decode, parse_keys
from tenants.models import Tenant
from tenants.scope import tenant_scope
from tenants.secret import Secret
from tests.factories import make_connection, make_tenant

KEY, BINDING = bytes(range(32)), b"of somebody"


def new_master() -> str:
    return base64.urlsafe_b64encode(os.urandom(32)).decode()


def told_of(act: Any, *args: Any, kind: type[Exception] = VaultError) -> str:
    with pytest.raises(kind) as caught:
        act(*args)
    assert caught.value.__cause__ is None
    return str(caught.value)


class TestSealing:
    def test_a_value_sealed_by_an_earlier_release_opens(self):
        sealed = bytes.fromhex("01") + bytes(12) + self.tagged()
        assert sealing.unseal(KEY, sealed, BINDING) == b"plain"

    def tagged(self) -> bytes:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        return AESGCM(KEY).encrypt(bytes(12), b"plain", b"\x01" + BINDING)

    def test_the_form_is_version_nonce_body_and_tag(self):
        sealed = sealing.seal(KEY, b"plain", BINDING)
        assert sealed[:1] == b"\x01"
        assert len(sealed) == 1 + 12 + 5 + 16
        assert len(sealing.new_key()) == 32

    def test_nothing_at_all_can_be_sealed(self):
        assert sealing.unseal(KEY, sealing.seal(KEY, b"", BINDING), BINDING) == b""

    def test_each_fault_has_its_words(self):
        sealed = sealing.seal(KEY, b"", BINDING)
        for other in (b"", b"\x02" + sealed[1:]):
            assert told_of(sealing.unseal, KEY, other, BINDING) == (
                "The stored secret has an unknown form. Enter the key again."
            )
        assert told_of(sealing.unseal, KEY, sealed[:-1], BINDING) == (
            "The stored secret is cut short. Enter the key again."
        )
        for key, value, binding in (
            (bytes(32), sealed, BINDING),
            (KEY, sealed, b"x"),
            (KEY, sealed + b"x", BINDING),
        ):
            assert told_of(sealing.unseal, key, value, binding) == (
                "The stored secret cannot be opened. Enter the key again."
            )


class TestMasters:
    def test_a_key_is_named_by_its_hash_and_shows_nothing_else(self):
        key = LocalKey(KEY)
        assert key.id == hashlib.sha256(KEY).hexdigest()[:16]
        assert repr(key) == f"LocalKey({key.id})"
        assert key.unwrap(key.wrap(b"data", BINDING), BINDING) == b"data"

    @pytest.mark.parametrize("length", [0, 16, 31, 33])
    def test_a_key_of_another_length_is_refused(self, length: int):
        assert told_of(LocalKey, bytes(length), kind=ValueError) == "a master key has 32 bytes"

    def test_the_first_is_the_newest_and_each_is_found_by_name(self):
        new, old = LocalKey(KEY), LocalKey(bytes(32))
        keys = Ring(iter([new, old]))
        assert keys.newest is new
        assert keys.ids == [new.id, old.id]
        assert keys.get(old.id) is old

    def test_one_that_is_not_there_is_named_with_those_that_are(self):
        new, old = LocalKey(KEY), LocalKey(bytes(32))
        assert told_of(Ring([new, old]).get, "feedfacefeedface", kind=MasterKeyMissing) == (
            f"The vault's master key feedfacefeedface is not among those of this process ({new.id}, {old.id}). "
            "Put it back behind the newest one and start again."
        )

    def test_none_at_all_is_told(self):
        assert told_of(Ring, [], kind=MasterKeyMissing) == "The vault has no master key: set WEIR_VAULT_KEYS."

    def test_the_ring_is_made_once_and_anew_for_other_keys(self, settings: Any):
        assert ring() is ring()
        before, settings.VAULT_KEYS = ring(), [new_master()]
        assert ring() is not before
        assert ring().newest.id == LocalKey(decode(settings.VAULT_KEYS[0])).id

    def test_keys_out_of_aws_go_before_and_are_told_of_when_they_are_none(
        self, settings: Any, monkeypatch: pytest.MonkeyPatch
    ):
        new, old = new_master(), new_master()
        asked: list[str] = []
        held = {"good": f"{new},{old}", "bad": "not a key"}

        def fetch(name: str) -> str:
            asked.append(name)
            return held[name]

        monkeypatch.setattr("integrations.vault.aws.fetch", fetch)
        settings.VAULT_KEYS_AWS_SECRET = "good"
        masters._ring.cache_clear()
        assert ring().ids == [LocalKey(decode(key)).id for key in (new, old)]
        assert asked == ["good"]
        settings.VAULT_KEYS_AWS_SECRET = "bad"
        assert (
            told_of(ring, kind=MasterKeyMissing) == f"The AWS secret of WEIR_VAULT_KEYS_AWS_SECRET {WANTED}"
        )
        masters._ring.cache_clear()


class TestKeysAsText:
    def test_commas_lines_and_spaces_part_them_and_padding_may_be_missing(self):
        one, two = new_master(), new_master()
        assert parse_keys(f" {one} ,\t{two}\n\n") == [one, two]
        assert parse_keys(one.rstrip("=")) == [one.rstrip("=")]
        assert decode(one.rstrip("=")) == base64.urlsafe_b64decode(one)
        assert decode("-_-_") == b"\xfb\xff\xbf"

    @pytest.mark.parametrize("text", ["", "\n", ",{0}", "{0},,{1}", "{0} {1}", "{0},short"])
    def test_anything_else_is_told_what_is_wanted(self, text: str):
        given = text.format(new_master().rstrip("="), new_master().rstrip("="))
        assert told_of(parse_keys, given, kind=ValueError) == WANTED

    def test_a_key_twice_is_told(self):
        one = new_master()
        assert told_of(parse_keys, f"{one},{one.rstrip('=')}", kind=ValueError) == "names a key twice"


class TestRotation:
    def secrets_of(self, tenant: Tenant) -> list[str]:
        with tenant_scope(tenant):
            rows = Connection.objects.order_by("id")
            return [vault.open_connection_secret(row).reveal() for row in rows]

    @pytest.fixture
    def three(self, db: None) -> list[Tenant]:
        found = [make_tenant().tenant for _ in range(3)]
        for tenant in found:
            for provider in ("prospeo", "hunter"):
                make_connection(tenant, provider, secret=f"{provider}-of-{tenant.pk}")
        return found

    def test_every_key_is_wrapped_anew_a_page_at_a_time_and_progress_is_told(
        self, three: list[Tenant], settings: Any, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setattr(rotation, "BATCH", 1)
        settings.VAULT_KEYS = [new_master(), *settings.VAULT_KEYS]
        told: list[int] = []
        counts = rotate(renew_before=None, progress=lambda so_far: told.append(so_far.keys))
        assert (counts.keys, counts.secrets, counts.unreadable, counts.failed) == (3, 0, 0, {})
        assert told == [1, 2, 3]
        settings.VAULT_KEYS = settings.VAULT_KEYS[:1]
        for tenant in three:
            assert self.secrets_of(tenant) == [f"{p}-of-{tenant.pk}" for p in ("prospeo", "hunter")]
        assert rotate(renew_before=None, progress=lambda _: None).keys == 0

    def test_what_is_renewed_and_what_cannot_be_is_counted_over_all_tenants(
        self, three: list[Tenant], monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setattr(rotation, "BATCH", 2)
        for tenant in three[:2]:
            with tenant_scope(tenant):
                ConnectionSecret.objects.filter(connection__provider="hunter").update(
                    sealed=b"\x01" + bytes(40)
                )
        soon = timezone.now() + timedelta(minutes=1)
        counts = rotate(renew_before=soon, progress=lambda _: None)
        assert (counts.keys, counts.secrets, counts.unreadable, counts.failed) == (3, 4, 2, {})

    def test_every_secret_that_does_not_open_is_counted(self, three: list[Tenant]):
        with tenant_scope(three[0]):
            ConnectionSecret.objects.update(sealed=b"\x01" + bytes(40))
            assert vault.renew() == vault.Renewal(sealed=0, unreadable=2)

    def test_a_key_that_does_not_open_is_told_with_its_reason(self, three: list[Tenant], settings: Any):
        with tenant_scope(three[0]):
            DataKey.objects.update(wrapped=b"\x02")
        settings.VAULT_KEYS = [new_master(), *settings.VAULT_KEYS]
        counts = rotate(renew_before=None, progress=lambda _: None)
        assert counts.keys == 2
        assert counts.failed == {three[0].pk: "The stored secret has an unknown form. Enter the key again."}

    def test_an_old_tenants_names_start_with_those_secrets_that_open(self, three: list[Tenant]):
        with tenant_scope(three[0]):
            broken = Connection.objects.all()[0]  # the first that is come to
            ConnectionSecret.objects.filter(connection=broken).update(sealed=b"\x01" + bytes(40))
            Connection.objects.update(key_hash="of before")
            DataKey.objects.update(naming=None)
            name = vault.key_hash("prospeo", Secret(f"prospeo-of-{three[0].pk}"))
            assert vault.key_hash("prospeo", Secret(f"prospeo-of-{three[0].pk}")) == name
            assert len(name) == 16
            found = dict(Connection.objects.values_list("provider", "key_hash"))
            assert found == {"hunter": "of before", "prospeo": name}

    def test_an_old_tenants_key_is_renewed_and_seals_as_any(self, three: list[Tenant]):
        with tenant_scope(three[0]):
            DataKey.objects.update(naming=None)
            assert vault.renew() == vault.Renewal(sealed=2, unreadable=0)
            DataKey.objects.update(naming=None)
            connection = Connection.objects.all()[0]
            vault.seal_connection_secret(connection, Secret("another key"))
            assert vault.open_connection_secret(connection).reveal() == "another key"

    def test_what_earlier_releases_stored_opens(self, three: list[Tenant]):
        """By what is bound to each: what the value is, and whose."""
        tenant = three[0].pk.bytes
        with tenant_scope(three[0]):
            row = DataKey.objects.get()
            data = ring().newest.unwrap(bytes(row.wrapped), b"datakey|" + tenant)
            assert row.naming is not None
            naming = sealing.unseal(data, bytes(row.naming), b"naming|" + tenant)
            connection = Connection.objects.get(provider="hunter")
            sealed = bytes(ConnectionSecret.objects.get(connection=connection).sealed)
            plain = sealing.unseal(data, sealed, b"connection|" + tenant + b"|hunter|" + connection.pk.bytes)
            assert plain.decode() == f"hunter-of-{three[0].pk}"
            named = hmac.new(naming, b"hunter|" + plain, hashlib.sha256).hexdigest()[:16]
            assert connection.key_hash == named

    def test_shredding_tells_whether_there_was_a_key(self, three: list[Tenant]):
        fresh = make_tenant().tenant
        with tenant_scope(fresh):
            assert vault.shred() is False
            assert vault.rewrap() is None
            assert vault.renew() is None
        with tenant_scope(three[0]):
            assert vault.shred() is True
            assert vault.shred() is False
            connection = Connection.objects.first()
            assert connection is not None
            assert told_of(vault.open_connection_secret, connection) == (
                "The keys of this tenant were destroyed. Enter the key again."
            )
            ConnectionSecret.objects.all().delete()
            assert told_of(vault.open_connection_secret, connection) == (
                "This connection has no secret. Enter the key again."
            )

    def test_a_key_wrapped_by_the_newest_is_left_alone(self, three: list[Tenant], settings: Any):
        with tenant_scope(three[0]):
            before = DataKey.objects.get()
            assert vault.rewrap() is None
            settings.VAULT_KEYS = [new_master(), *settings.VAULT_KEYS]
            assert vault.rewrap() is not None
            after = DataKey.objects.get()
            assert after.master_key_id == ring().newest.id
            assert (after.created_at, bytes(after.naming)) == (before.created_at, bytes(before.naming))
            renewed = vault.renew()
            assert renewed == vault.Renewal(sealed=2, unreadable=0)
            assert DataKey.objects.get().created_at > before.created_at

    def test_names_differ_by_provider_and_key_and_stay_when_the_key_is_renewed(self, three: list[Tenant]):
        with tenant_scope(three[0]):
            names = {vault.key_hash(p, Secret(s)) for p in ("hunter", "prospeo") for s in ("one", "two")}
            assert len(names) == 4
            assert all(len(name) == 16 and int(name, 16) >= 0 for name in names)
            vault.renew()
            assert {vault.key_hash("hunter", Secret(s)) for s in ("one", "two")} < names

    def test_lost_master_keys_are_named_up_to_a_bound(
        self, three: list[Tenant], settings: Any, monkeypatch: pytest.MonkeyPatch
    ):
        lost = []
        for tenant in three:
            with tenant_scope(tenant):
                settings.VAULT_KEYS = [new_master(), *settings.VAULT_KEYS]
                operations.rewrap_data_key(actor="system:tests")
                lost.append(ring().newest.id)
        check.check_masters()
        settings.VAULT_KEYS = [new_master(), new_master()]
        # By tenant, oldest first, as they were rewrapped.
        assert told_of(check.check_masters, kind=MasterKeyMissing) == (
            f"Stored secrets need master key(s) that are not at hand: {', '.join(lost)} "
            f"(at hand: {', '.join(ring().ids)}). Put them back behind the newest one."
        )
        monkeypatch.setattr(check, "MOST_NAMED", 2)
        assert sum(name in told_of(check.check_masters, kind=MasterKeyMissing) for name in lost) == 2


def test_a_connection_of_no_tenant_cannot_be_opened(tenant: Tenant):
    with tenant_scope(tenant):
        told = told_of(vault.open_connection_secret, Connection(pk=uuid.uuid4(), provider="hunter"))
    assert told == "This connection has no secret. Enter the key again."
