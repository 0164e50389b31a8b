"""Second factors at rest: sealed by the newest master key, and by it alone once they were sealed again."""

import base64
import os
from typing import Any

import pytest
from allauth.mfa.models import Authenticator

from config import second_factors
from config.second_factors import MFAAdapter, reseal
from integrations.errors import MasterKeyMissing, VaultError
from integrations.vault.masters import ring
from tenants.models import User
from tests.factories import make_tenant

PLAIN = "JBSWY3DPEHPK3PXPé"


def new_master() -> str:
    return base64.urlsafe_b64encode(os.urandom(32)).decode()


def factor(user: User, kind: str, **data: Any) -> Authenticator:
    return Authenticator.objects.create(user=user, type=kind, data=data)


def test_what_is_sealed_names_its_key_and_opens_again():
    sealed = MFAAdapter().encrypt(PLAIN)
    key_id, _, body = sealed.partition(":")
    assert key_id == ring().newest.id
    assert PLAIN.encode() not in base64.b64decode(body, validate=True)
    assert MFAAdapter().decrypt(sealed) == PLAIN
    assert MFAAdapter().encrypt(PLAIN) != sealed  # equal secrets do not look equal


def test_it_opens_as_a_second_factor_alone():
    body = ring().newest.wrap(PLAIN.encode(), b"something else")
    with pytest.raises(VaultError):
        MFAAdapter().decrypt(f"{ring().newest.id}:{base64.b64encode(body).decode()}")


@pytest.mark.parametrize("text", [PLAIN, "", "abc:"])
def test_what_is_not_sealed_is_not_taken(text: str):
    with pytest.raises(VaultError) as told:
        MFAAdapter().decrypt(text)
    assert str(told.value) == "A second factor is not sealed."


def test_a_master_key_that_is_away_is_named(settings: Any):
    sealed = MFAAdapter().encrypt(PLAIN)
    settings.VAULT_KEYS = [new_master()]
    with pytest.raises(MasterKeyMissing, match=sealed.partition(":")[0]):
        MFAAdapter().decrypt(sealed)


@pytest.mark.parametrize("batch", [1, 2, 200])
def test_all_are_sealed_again_and_nothing_else_of_them_changes(
    db: None, settings: Any, monkeypatch: pytest.MonkeyPatch, batch: int
):
    monkeypatch.setattr(second_factors, "BATCH", batch)
    adapter, people = MFAAdapter(), [make_tenant().owner for _ in range(3)]
    old = adapter.encrypt(PLAIN)
    for user in people:
        factor(user, Authenticator.Type.TOTP, secret=old, kept="as it is")
    codes = factor(people[0], Authenticator.Type.RECOVERY_CODES, seed=old, used_mask=5)
    passkey = factor(people[0], Authenticator.Type.WEBAUTHN, secret="not ours")
    assert reseal() == 0
    settings.VAULT_KEYS = [new_master(), *settings.VAULT_KEYS]
    newest = ring().newest.id
    assert reseal(anything="given") == 4
    for row in Authenticator.objects.filter(type=Authenticator.Type.TOTP):
        assert row.data["secret"].startswith(f"{newest}:")
        assert adapter.decrypt(row.data["secret"]) == PLAIN
        assert row.data["kept"] == "as it is"
    codes.refresh_from_db()
    passkey.refresh_from_db()
    assert adapter.decrypt(codes.data["seed"]) == PLAIN
    assert codes.data["used_mask"] == 5
    assert passkey.data == {"secret": "not ours"}
    assert reseal() == 0
    settings.VAULT_KEYS = settings.VAULT_KEYS[:1]  # the old key is needed no more
    assert {adapter.decrypt(row.data["secret"]) for row in Authenticator.objects.filter(type="totp")} == {
        PLAIN
    }
