"""API keys: created, rotated, revoked."""

import uuid
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from django.db.models import Q
from django.utils import timezone

from tenants import audit
from tenants.api_keys import NewKey, new_key
from tenants.errors import Conflict, InvalidInput, NotAllowed, NotFound
from tenants.models import ApiKey, User
from tenants.queries import KeyOwner
from tenants.scope import require_tenant_id, tenant_scope

ALL_SCOPES = tuple(ApiKey.Scope.values)
MAX_NAME = 80
MAX_ACTIVE = 500
OVERLAP_SECONDS = 86_400
MAX_OVERLAP_SECONDS = 30 * 86_400


def create_api_key(
    *,
    name: str,
    actor: str,
    livemode: bool = True,
    scopes: Sequence[str] = ALL_SCOPES,
    created_by: User | None = None,
    expires_at: datetime | None = None,
    by: KeyOwner | None = None,
) -> tuple[ApiKey, str]:
    """Create a key of the open tenant; returns it with the plain key, which is shown once.

    `by` is the key that asks, where a key does: it cannot give what it does not have (NotAllowed), and what it makes
    ends when it ends, if not before. Raises InvalidInput for an unusable name, scope or expiry, and Conflict when the
    tenant has too many keys.
    """
    tenant_id = require_tenant_id()
    wanted = _clean_scopes(scopes)
    _require_reach(by, livemode=livemode, scopes=wanted)
    now = timezone.now()
    if expires_at is not None and expires_at <= now:
        raise _invalid("expires_at", "The expiry must lie in the future.")
    expires_at = _within(by, expires_at)
    minted = new_key(livemode=livemode)
    with tenant_scope(tenant_id):
        _require_room(now)
        key = _insert(
            minted,
            name=clean_name(name),
            livemode=livemode,
            scopes=wanted,
            created_by=created_by,
            expires_at=expires_at,
        )
        audit.record(
            actor=actor, verb="key.created", subject=key, name=key.name, key=key.hint, scopes=key.scopes
        )
    return key, minted.plain


def rotate_api_key(
    *,
    key_id: uuid.UUID,
    actor: str,
    overlap_seconds: int = OVERLAP_SECONDS,
    created_by: User | None = None,
    by: KeyOwner | None = None,
) -> tuple[ApiKey, str]:
    """Replace a key of the open tenant by a new one; returns the new key with its plain text, which is shown once.

    The new key has the old one's name, mode, scopes and length of life. The old one stays valid for `overlap_seconds`
    (0 to 30 days), or until it expires, if that comes first. `by` is the key that asks, where a key does; it may be the
    one that is replaced. Keys prolong nothing: a replacement that a key asks for ends when that key was made to end, if
    not before. Raises NotFound; NotAllowed where `by` reaches less far than the key; Conflict for a key that
    is revoked, expired or replaced already (a replacement that was revoked does not count), and where both would be one key
    too many.
    """
    if not 0 <= overlap_seconds <= MAX_OVERLAP_SECONDS:
        raise _invalid("overlap_seconds", f"A whole number from 0 to {MAX_OVERLAP_SECONDS:,}.")
    with tenant_scope(require_tenant_id()):
        old = _locked(key_id, by)
        _require_reach(by, livemode=old.livemode, scopes=old.scopes)
        now = timezone.now()
        made = _as_made(old, now)
        if overlap_seconds:
            _require_room(now)
        minted = new_key(livemode=old.livemode)
        key = _insert(
            minted,
            name=old.name,
            livemode=old.livemode,
            scopes=list(old.scopes),
            created_by=created_by,
            expires_at=_renewed(made, old, by, now),
            replaces=old,
        )
        end = now + timedelta(seconds=overlap_seconds)
        old.expires_at = end if old.expires_at is None else min(old.expires_at, end)
        old.save(update_fields=["expires_at"])
        audit.record(
            actor=actor,
            verb="key.rotated",
            subject=old,
            name=old.name,
            key=old.hint,
            replaced_by=key.hint,
            overlap_seconds=overlap_seconds,
        )
    return key, minted.plain


def revoke_api_key(*, key_id: uuid.UUID, actor: str, by: KeyOwner | None = None) -> ApiKey:
    """End a key of the open tenant for good; it is refused within a second.

    `by` is the key that asks, where a key does; a test key finds test keys alone. Raises NotFound, Conflict.
    """
    with tenant_scope(require_tenant_id()):
        key = _locked(key_id, by)
        if key.revoked_at is not None:
            raise Conflict("This key has been revoked already.")
        key.revoked_at = timezone.now()
        key.save(update_fields=["revoked_at"])
        audit.record(actor=actor, verb="key.revoked", subject=key, name=key.name, key=key.hint)
    return key


def clean_name(name: str) -> str:
    """A key's name with single spaces. Raises InvalidInput."""
    cleaned = " ".join(name.split())
    if not 1 <= len(cleaned) <= MAX_NAME or not cleaned.isprintable():
        raise _invalid("name", f"A name has 1 to {MAX_NAME} printable characters.")
    return cleaned


def _clean_scopes(scopes: Collection[str]) -> list[str]:
    """The scopes in their own order, each once."""
    if not scopes or set(scopes) - set(ALL_SCOPES):
        raise _invalid("scopes", f"Choose at least one out of: {', '.join(ALL_SCOPES)}.")
    return [scope for scope in ALL_SCOPES if scope in scopes]


def _require_reach(by: KeyOwner | None, *, livemode: bool, scopes: Collection[str]) -> None:
    """A key hands out no more than it has: otherwise `admin` alone would be as good as all."""
    if by is None:
        return
    if livemode and not by.livemode:
        raise NotAllowed("A test key makes test keys alone: use a live key, or the page “Developers”.")
    lacking = sorted(set(scopes) - set(by.scopes))
    if lacking:
        raise NotAllowed(
            f"This key cannot give a scope that it does not have: {', '.join(lacking)}. "
            "Use a key that has it, or the page “Developers”."
        )


def _within(by: KeyOwner | None, expires_at: datetime | None) -> datetime | None:
    """The expiry of a key that `by` makes. Raises NotAllowed for one that outlives it."""
    if by is None or by.expires_at is None:
        return expires_at
    if expires_at is not None and expires_at > by.expires_at:
        raise NotAllowed(
            "A key cannot make one that outlives it. Give an earlier expiry, or use the page “Developers”."
        )
    return expires_at or by.expires_at


def _require_room(now: datetime) -> None:
    active = ApiKey.objects.filter(Q(expires_at=None) | Q(expires_at__gt=now), revoked_at=None).count()
    if active >= MAX_ACTIVE:
        raise Conflict(f"A tenant has at most {MAX_ACTIVE} active keys. Revoke those that nobody uses.")


def _locked(key_id: uuid.UUID, by: KeyOwner | None) -> ApiKey:
    rows = ApiKey.objects.select_for_update().filter(pk=key_id)
    if by is not None and not by.livemode:
        rows = rows.filter(livemode=False)
    key: ApiKey | None = rows.first()
    if key is None:
        raise NotFound("There is no such key.")
    return key


def _as_made(old: ApiKey, now: datetime) -> ApiKey:
    """The key whose times are those that this one was made with. Raises Conflict where it cannot be replaced."""
    if old.revoked_at is not None:
        raise Conflict("This key has been revoked. Create a new one.")
    if old.expires_at is not None and old.expires_at <= now:
        raise Conflict("This key has expired. Create a new one.")
    earlier = list(ApiKey.objects.filter(replaces=old).order_by("-id"))
    for replacement in earlier:
        if replacement.revoked_at is None:
            raise Conflict(
                f"This key was replaced by {replacement.hint} already. "
                "If that one was lost, revoke it and rotate again."
            )
    # A key that was rotated before ends with its overlap; what it was made for is on its first replacement.
    return earlier[-1] if earlier else old


def _renewed(made: ApiKey, old: ApiKey, by: KeyOwner | None, now: datetime) -> datetime | None:
    """When the replacement ends: it lives as long as its key was made for; None for ever."""
    ends = None if made.expires_at is None else now + (made.expires_at - made.created_at)
    if by is None:
        return ends
    most = made.expires_at if by.key_id == old.pk else by.expires_at
    return most if ends is None else ends if most is None else min(ends, most)


def _insert(minted: NewKey, **values: object) -> ApiKey:
    key: ApiKey = ApiKey.objects.create(hint=minted.hint, digest=minted.digest, **values)
    key.refresh_from_db(fields=["created_at"])
    return key


def _invalid(field: str, message: str) -> InvalidInput:
    return InvalidInput(f"{field}: {message}", errors=[{"field": field, "message": message}])
