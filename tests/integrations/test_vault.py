"""The vault: what opens, what must not, and what stays the same through every change of keys."""

import base64
import os
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection as database

from integrations import operations, vault
from integrations.errors import MasterKeyMissing, VaultError
from integrations.models import Connection, ConnectionSecret, DataKey
from integrations.vault import masters
from integrations.vault.sealing import NONCE_BYTES, new_key, seal, unseal
from tenants.errors import Conflict, InvalidInput, NotFound
from tenants.models import AuditEvent, Tenant
from tenants.scope import tenant_scope
from tenants.secret import Secret
from tests.factories import ACTOR, make_connection

Connect = Callable[..., Connection]
PLAIN = "the-vendors-key-4711"


def new_master() -> str:
    return base64.urlsafe_b64encode(os.urandom(32)).decode()


def sealed_of(connection: Connection) -> bytes:
    return bytes(ConnectionSecret.objects.get(connection=connection).sealed)


def put(connection: Connection, sealed: bytes) -> None:
    ConnectionSecret.objects.filter(connection=connection).update(sealed=sealed)


def refused(connection: Connection) -> str:
    with pytest.raises(VaultError) as caught:
        vault.open_connection_secret(connection)
    assert not isinstance(caught.value, MasterKeyMissing)
    assert PLAIN not in str(caught.value)
    return caught.value.detail


def test_a_secret_comes_out_as_it_went_in_and_is_nowhere_in_the_tables(tenant: Tenant, connect: Connect):
    mine = connect("prospeo", secret=PLAIN)
    with tenant_scope(tenant), database.cursor() as cursor:
        assert vault.open_connection_secret(mine) == Secret(PLAIN)
        for table in ("integrations_connection", "integrations_connectionsecret", "integrations_datakey"):
            cursor.execute(f"SELECT t::text FROM {table} t")
            for (row,) in cursor.fetchall():
                assert PLAIN not in row
                assert PLAIN.encode().hex() not in row


def test_every_flipped_bit_and_every_cut_is_noticed(tenant: Tenant, connect: Connect):
    key, binding = new_key(), b"datakey|of somebody"
    sealed = seal(key, PLAIN.encode(), binding)
    for place in range(len(sealed)):
        for bit in range(8):
            changed = bytearray(sealed)
            changed[place] ^= 1 << bit
            with pytest.raises(VaultError, match="Enter the key again"):
                unseal(key, bytes(changed), binding)
        with pytest.raises(VaultError, match="Enter the key again"):
            unseal(key, sealed[:place], binding)
    for wrong in (sealed + b"\0", b"\x02" + sealed[1:], b"\x00" + sealed[1:], b""):
        with pytest.raises(VaultError, match="Enter the key again"):
            unseal(key, wrong, binding)
    with pytest.raises(VaultError):
        unseal(new_key(), sealed, binding)
    with pytest.raises(VaultError):
        unseal(key, sealed, b"datakey|of somebody else")
    assert unseal(key, sealed, binding) == PLAIN.encode()


def test_a_tampered_row_asks_for_the_key_again(tenant: Tenant, connect: Connect):
    mine = connect("prospeo", secret=PLAIN)
    with tenant_scope(tenant):
        good = sealed_of(mine)
        for place in range(len(good)):
            put(mine, good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
            assert "Enter the key again" in refused(mine)
        put(mine, good)
        assert vault.open_connection_secret(mine).reveal() == PLAIN


def test_a_ciphertext_moved_to_another_row_does_not_open(tenant: Tenant, connect: Connect):
    first, second = connect("prospeo", secret=PLAIN), connect("prospeo", secret="another-key-0815")
    with tenant_scope(tenant):
        one, two = sealed_of(first), sealed_of(second)
        put(first, two)
        put(second, one)
        assert refused(first)
        assert refused(second)


def test_a_ciphertext_moved_to_another_provider_does_not_open(tenant: Tenant, connect: Connect):
    mine = connect("prospeo", secret=PLAIN)
    with tenant_scope(tenant):
        mine.provider = "hunter"
        assert refused(mine)


def test_columns_cannot_be_swapped(tenant: Tenant, connect: Connect):
    mine = connect("prospeo", secret=PLAIN)
    with tenant_scope(tenant):
        key, good = DataKey.objects.get(), sealed_of(mine)
        put(mine, bytes(key.wrapped))
        assert refused(mine)
        put(mine, bytes(key.naming))
        assert refused(mine)
        put(mine, good)
        DataKey.objects.update(wrapped=key.naming, naming=key.wrapped)
        assert refused(mine)


def test_nothing_moves_between_tenants(tenant: Tenant, other_tenant: Tenant, connect: Connect):
    mine = connect("prospeo", secret=PLAIN)
    theirs = make_connection(other_tenant, "prospeo", secret=PLAIN)
    with tenant_scope(tenant):
        sealed, key = sealed_of(mine), DataKey.objects.get()
        wrapped, naming = bytes(key.wrapped), bytes(key.naming)
    with tenant_scope(other_tenant):
        kept = sealed_of(theirs)
        put(theirs, sealed)
        assert refused(theirs)
        put(theirs, kept)
        DataKey.objects.update(wrapped=wrapped, naming=naming)
        assert refused(theirs)
        put(theirs, sealed)  # even with the data key that belongs to it
        assert refused(theirs)
    with tenant_scope(tenant):
        assert vault.open_connection_secret(mine).reveal() == PLAIN


def test_a_secret_that_was_never_stored_is_told(tenant: Tenant, connect: Connect):
    mine = connect("prospeo", secret=PLAIN)
    with tenant_scope(tenant):
        ConnectionSecret.objects.all().delete()
        assert refused(mine) == "This connection has no secret. Enter the key again."


def test_nonces_do_not_repeat():
    key = new_key()
    count = 50_000
    assert len({seal(key, b"", b"")[1 : 1 + NONCE_BYTES] for _ in range(count)}) == count


@pytest.mark.campaign
def test_a_million_nonces_do_not_repeat():
    key = new_key()
    assert len({seal(key, b"", b"")[1 : 1 + NONCE_BYTES] for _ in range(1_000_000)}) == 1_000_000


def test_the_newest_master_key_wraps_and_older_ones_still_open(
    tenant: Tenant, connect: Connect, settings: Any
):
    mine, old, new = connect("prospeo", secret=PLAIN), settings.VAULT_KEYS[0], new_master()
    settings.VAULT_KEYS = [new, old]
    with tenant_scope(tenant):
        assert DataKey.objects.get().master_key_id != masters.ring().newest.id
        assert vault.open_connection_secret(mine).reveal() == PLAIN
        assert operations.rewrap_data_key(actor=ACTOR) is True
        assert operations.rewrap_data_key(actor=ACTOR) is False
        settings.VAULT_KEYS = [new]
        assert DataKey.objects.get().master_key_id == masters.ring().newest.id
        assert vault.open_connection_secret(mine).reveal() == PLAIN
        settings.VAULT_KEYS = [old]
        with pytest.raises(MasterKeyMissing, match=DataKey.objects.get().master_key_id):
            vault.open_connection_secret(mine)
        assert AuditEvent.objects.filter(verb="vault.rewrapped").count() == 1


def test_a_missing_master_key_is_not_the_tenants_fault_and_shows_no_key(
    tenant: Tenant, connect: Connect, settings: Any
):
    mine, old = connect("prospeo", secret=PLAIN), settings.VAULT_KEYS[0]
    settings.VAULT_KEYS = [new_master()]
    with tenant_scope(tenant), pytest.raises(MasterKeyMissing) as caught:
        vault.open_connection_secret(mine)
    assert "again later" in caught.value.detail
    for key in (old, settings.VAULT_KEYS[0]):
        assert key not in str(caught.value) + repr(caught.value) + repr(masters.ring().keys)


def test_a_new_data_key_seals_everything_again(tenant: Tenant, connect: Connect):
    mine = [connect("prospeo", secret=f"{PLAIN}-{number}") for number in range(3)]
    with tenant_scope(tenant):
        before = {one.pk: sealed_of(one) for one in mine}
        wrapped = bytes(DataKey.objects.get().wrapped)
        put(mine[2], before[mine[1].pk])  # one that does not open
        renewal = operations.renew_data_key(actor=ACTOR)
        assert renewal == vault.Renewal(sealed=2, unreadable=1)
        assert bytes(DataKey.objects.get().wrapped) != wrapped
        assert [vault.open_connection_secret(one).reveal() for one in mine[:2]] == [
            f"{PLAIN}-0",
            f"{PLAIN}-1",
        ]
        assert refused(mine[2])
        put(mine[0], before[mine[0].pk])  # what was stolen before is worth nothing after
        assert refused(mine[0])
        assert AuditEvent.objects.get(verb="vault.renewed").detail["sealed"] == 2


def test_more_secrets_than_one_batch_are_all_sealed_again(
    tenant: Tenant, connect: Connect, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(vault, "BATCH", 2)
    mine = [connect("prospeo", secret=f"{PLAIN}-{number}") for number in range(5)]
    with tenant_scope(tenant):
        assert operations.renew_data_key(actor=ACTOR) == vault.Renewal(sealed=5)
        for number, one in enumerate(mine):
            assert vault.open_connection_secret(one).reveal() == f"{PLAIN}-{number}"


def test_a_tenant_without_secrets_has_no_key_to_change(tenant: Tenant):
    with tenant_scope(tenant):
        assert operations.renew_data_key(actor=ACTOR) is None
        assert operations.rewrap_data_key(actor=ACTOR) is False
        assert operations.shred_secrets(actor=ACTOR) is False
        assert not DataKey.objects.exists()


def test_names_of_keys_outlive_every_rotation(tenant: Tenant, connect: Connect, settings: Any):
    connect("prospeo", secret=PLAIN)
    with tenant_scope(tenant):
        name = vault.key_hash("prospeo", Secret(PLAIN))
        assert Connection.objects.get().key_hash == name
        settings.VAULT_KEYS = [new_master(), *settings.VAULT_KEYS]
        operations.rewrap_data_key(actor=ACTOR)
        assert vault.key_hash("prospeo", Secret(PLAIN)) == name
        operations.renew_data_key(actor=ACTOR)
        assert vault.key_hash("prospeo", Secret(PLAIN)) == name
    with pytest.raises(Conflict):
        connect("prospeo", secret=PLAIN)


def test_names_of_keys_tell_nothing_to_other_tenants_and_providers(tenant: Tenant, other_tenant: Tenant):
    names = set()
    for whose in (tenant, other_tenant):
        with tenant_scope(whose):
            names |= {vault.key_hash(provider, Secret(PLAIN)) for provider in ("prospeo", "hunter")}
    assert len(names) == 4


def test_a_tenant_of_an_earlier_version_gets_names_that_last(tenant: Tenant, connect: Connect):
    connect("prospeo", secret=PLAIN)
    with tenant_scope(tenant):
        DataKey.objects.update(naming=None)
        Connection.objects.update(key_hash="0" * 16)
    with pytest.raises(Conflict):
        connect("prospeo", secret=PLAIN)
    with tenant_scope(tenant):
        name = vault.key_hash("prospeo", Secret(PLAIN))
        assert Connection.objects.get().key_hash == name != "0" * 16


def test_shredding_leaves_nothing_that_opens(tenant: Tenant, other_tenant: Tenant, connect: Connect):
    mine = connect("prospeo", secret=PLAIN)
    theirs = make_connection(other_tenant, "prospeo", secret=PLAIN)
    with tenant_scope(tenant):
        assert operations.shred_secrets(actor=ACTOR) is True
        assert refused(mine) == vault.GONE
        assert not DataKey.objects.exists()
        assert AuditEvent.objects.filter(verb="vault.shredded").exists()
        operations.replace_connection_secret(connection_id=mine.pk, secret=Secret(PLAIN), actor=ACTOR)
        assert vault.open_connection_secret(mine).reveal() == PLAIN
    with tenant_scope(other_tenant):
        assert vault.open_connection_secret(theirs).reveal() == PLAIN


def test_a_key_can_be_replaced(tenant: Tenant, connect: Connect):
    mine = connect("prospeo", secret=PLAIN)
    with tenant_scope(tenant):
        Connection.objects.update(status="auth_failed", last_error="refused", balance=7)
        operations.replace_connection_secret(
            connection_id=mine.pk, secret=Secret(" a-fresh-key-0815\n"), actor=ACTOR
        )
        changed = Connection.objects.get()
        assert vault.open_connection_secret(changed).reveal() == "a-fresh-key-0815"
        assert (changed.secret_hint, changed.status, changed.last_error, changed.balance) == (
            "0815",
            "ok",
            "",
            None,
        )
        assert changed.key_hash == vault.key_hash("prospeo", Secret("a-fresh-key-0815"))
        entry = AuditEvent.objects.get(verb="connection.secret_replaced")
        assert (entry.actor, entry.detail) == (ACTOR, {"provider": "prospeo", "hint": "0815"})


def test_a_key_is_not_replaced_by_another_connections_or_by_what_is_none(
    tenant: Tenant, other_tenant: Tenant, connect: Connect
):
    mine = connect("prospeo", secret=PLAIN)
    connect("prospeo", secret="another-key-0815")
    theirs = make_connection(other_tenant, "prospeo")

    def replace(connection_id: uuid.UUID, plain: str) -> None:
        operations.replace_connection_secret(connection_id=connection_id, secret=Secret(plain), actor=ACTOR)

    with tenant_scope(tenant):
        with pytest.raises(Conflict):
            replace(mine.pk, "another-key-0815")
        for plain in ("", "two words", "schlüssel", "x" * 4_001, "line\nbreak"):
            with pytest.raises(InvalidInput):
                replace(mine.pk, plain)
        for stranger in (theirs.pk, uuid.uuid4()):
            with pytest.raises(NotFound):
                replace(stranger, "a-third-key-0816")
        replace(mine.pk, PLAIN)  # the same one again
        assert vault.open_connection_secret(mine).reveal() == PLAIN


def test_what_is_bound_differs_by_purpose_tenant_provider_and_row(tenant: Tenant, other_tenant: Tenant):
    rows = [uuid.uuid4(), uuid.uuid4()]
    bound = []
    for whose in (tenant, other_tenant):
        with tenant_scope(whose):
            bound += [vault._data_key_binding(), vault._naming_binding()]
            bound += [
                vault._secret_binding(provider, row) for provider in ("prospeo", "hunter") for row in rows
            ]
    assert len(set(bound)) == len(bound) == 12


def test_another_tenants_data_key_does_not_serve(tenant: Tenant, other_tenant: Tenant, connect: Connect):
    connect("prospeo", secret=PLAIN)
    make_connection(other_tenant, "prospeo", secret=PLAIN)
    with tenant_scope(tenant):
        key = DataKey.objects.get()
    with tenant_scope(other_tenant):
        DataKey.objects.update(wrapped=key.wrapped, naming=key.naming)
        with pytest.raises(VaultError):
            vault.key_hash("prospeo", Secret(PLAIN))
        with pytest.raises(VaultError):
            operations.rewrap_data_key(actor=ACTOR) or operations.renew_data_key(actor=ACTOR)


def test_a_live_key_is_not_replaced_by_one_that_is_too_short_to_be_masked(tenant: Tenant, connect: Connect):
    mine = make_connection(tenant, "prospeo", secret=PLAIN, mode="live")
    with tenant_scope(tenant), pytest.raises(InvalidInput, match="at least 8"):
        operations.replace_connection_secret(connection_id=mine.pk, secret=Secret("ab12cd7"), actor=ACTOR)
