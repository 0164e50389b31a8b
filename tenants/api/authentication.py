"""API key authentication for DRF: `Authorization: Bearer wk_…` or `X-API-Key`."""

from typing import Any

from django.utils import timezone
from rest_framework import authentication, exceptions
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from tenants import api_keys, context
from tenants.operations.key_use import note_use
from tenants.permissions import PERMISSIONS, scopes_allow
from tenants.queries import KeyOwner, key_owners
from tenants.remembered import Remembered

CACHE_SECONDS = 1.0
"""For so long at most does a process believe what it knows of a key and its tenant."""
OWNERS: Remembered[bytes, KeyOwner | None] = Remembered(key_owners, seconds=CACHE_SECONDS, nothing=None)


class KeyPrincipal:
    """What DRF calls the user of a request: an API key acting for its tenant."""

    is_authenticated = True
    is_anonymous = False
    is_active = True

    def __init__(self, owner: KeyOwner) -> None:
        self.owner = owner
        self.pk = owner.key_id
        self.tenant_id = owner.tenant_id

    def __str__(self) -> str:
        return f"key:{self.owner.hint}"


class InvalidKey(exceptions.AuthenticationFailed):
    default_detail = "The API key is not valid. Check that it was copied whole and has not been revoked."
    default_code = "invalid_api_key"


class ApiKeyAuthentication(authentication.BaseAuthentication):
    """Finds the tenant of a key and puts both into the request context. Typos are refused without a query."""

    def authenticate(self, request: Request) -> tuple[KeyPrincipal, KeyOwner] | None:
        plain = _presented_key(request)
        if plain is None:
            return None
        if not api_keys.well_formed(plain):
            raise InvalidKey
        owner = OWNERS.get(api_keys.digest(plain))
        now = timezone.now()
        if owner is None or (owner.revoked_at and owner.revoked_at <= now):
            raise InvalidKey
        if owner.expires_at and owner.expires_at <= now:
            raise InvalidKey(
                "The API key has expired. Create a new one under Developers.", code="expired_api_key"
            )
        if owner.tenant_status != "active":
            state = "being deleted" if owner.tenant_status == "closing" else "suspended"
            raise exceptions.PermissionDenied(f"This tenant is {state}.", code="tenant_suspended")
        context.update(
            tenant_id=owner.tenant_id,
            plan=owner.plan,
            actor=f"key:{owner.hint}",
            key_id=owner.key_id,
            livemode=owner.livemode,
        )
        note_use(owner)
        return KeyPrincipal(owner), owner

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="weir"'


def _presented_key(request: Request) -> str | None:
    header = request.headers.get("Authorization", "")
    if header:
        scheme, _, value = header.partition(" ")
        if scheme.lower() != "bearer":
            raise InvalidKey("Send the key as “Authorization: Bearer wk_…” or in X-API-Key.")
        return value.strip()
    return request.headers.get("X-API-Key")


class HasPermission(BasePermission):
    """The view names its permission per method; a key whose scopes do not reach it gets 403 with what it lacks."""

    def has_permission(self, request: Request, view: Any) -> bool:
        owner = request.auth
        if not isinstance(owner, KeyOwner):
            return False
        method = request.method or "GET"
        if not hasattr(view, method.lower()):
            raise exceptions.MethodNotAllowed(method)  # it has no permission to look up
        permission = view.permission_for(method)
        needed = PERMISSIONS[permission]
        if needed.live_only and not owner.livemode:
            raise exceptions.PermissionDenied(
                f"A test key cannot {needed.what}: use a live key.", code="live_key_needed"
            )
        if scopes_allow(owner.scopes, permission):
            return True
        if needed.scope is None:
            raise exceptions.PermissionDenied(f"No key can {needed.what}: sign in.", code="people_only")
        raise exceptions.PermissionDenied(
            f"This key lacks the scope “{needed.scope}”, which it takes to {needed.what}.",
            code="missing_scope",
        )
