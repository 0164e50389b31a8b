"""Second factors at rest: sealed by the newest master key, and by it alone once they were sealed again."""

import base64
import os
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes

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
        assert row.data["secret"].startswith(f"{newest}:bound:")
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


def stored(pk: int) -> dict[str, Any]:
    return Authenticator.objects.get(pk=pk).data


def test_a_factor_copied_to_somebody_else_does_not_open(db: None):
    mine, boss = make_tenant().owner, make_tenant().owner
    sealed = MFAAdapter().encrypt(PLAIN)
    own = factor(mine, Authenticator.Type.TOTP, secret=sealed)
    theirs = factor(boss, Authenticator.Type.TOTP, secret=sealed)
    assert (
        MFAAdapter().decrypt(stored(own.pk)["secret"])
        == MFAAdapter().decrypt(stored(theirs.pk)["secret"])
        == PLAIN
    )
    Authenticator.objects.filter(pk=theirs.pk).update(data={"secret": str(stored(own.pk)["secret"])})
    with pytest.raises(VaultError):
        MFAAdapter().decrypt(stored(theirs.pk)["secret"])


def test_a_seed_is_no_key_of_an_app(db: None):
    user = make_tenant().owner
    app = factor(user, Authenticator.Type.TOTP, secret=MFAAdapter().encrypt(PLAIN))
    codes = factor(user, Authenticator.Type.RECOVERY_CODES, seed=str(stored(app.pk)["secret"]))
    with pytest.raises(VaultError):
        MFAAdapter().decrypt(stored(codes.pk)["seed"])


def test_without_a_row_what_was_stored_does_not_open(db: None):
    own = factor(make_tenant().owner, Authenticator.Type.TOTP, secret=MFAAdapter().encrypt(PLAIN))
    with pytest.raises(VaultError):
        MFAAdapter().decrypt(str(stored(own.pk)["secret"]))


def test_what_was_stored_before_opens_and_is_bound_when_it_is_used(db: None):
    user = make_tenant().owner
    app = factor(user, Authenticator.Type.TOTP)
    codes = factor(user, Authenticator.Type.RECOVERY_CODES, used_mask=1)
    old = MFAAdapter().encrypt("JBSWY3DPEHPK3PXP")
    Authenticator.objects.filter(pk=app.pk).update(data={"secret": old})
    Authenticator.objects.filter(pk=codes.pk).update(data={"seed": old, "used_mask": 1})
    used = Authenticator.objects.get(pk=app.pk)
    assert MFAAdapter().decrypt(used.data["secret"]) == "JBSWY3DPEHPK3PXP"
    used.record_usage()
    left = RecoveryCodes(Authenticator.objects.get(pk=codes.pk))
    assert left.validate_code(left.get_unused_codes()[0])
    for pk, name in ((app.pk, "secret"), (codes.pk, "seed")):
        data = stored(pk)
        assert ":bound:" in data[name]
        assert MFAAdapter().decrypt(data[name]) == "JBSWY3DPEHPK3PXP"
    assert stored(codes.pk)["used_mask"] == 3
    assert Authenticator.objects.get(pk=app.pk).last_used_at is not None


def test_rotation_binds_what_was_stored_before(db: None):
    app = factor(make_tenant().owner, Authenticator.Type.TOTP)
    Authenticator.objects.filter(pk=app.pk).update(data={"secret": MFAAdapter().encrypt(PLAIN)})
    assert (reseal(), reseal()) == (1, 0)
    assert ":bound:" in stored(app.pk)["secret"]
